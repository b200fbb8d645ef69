/* The trusted start of a program, and its end.
 *
 * Until it is baked, all of the arena is readable, writable and executable in
 * the page tables, so that a dynamic loader can map code into it, and rights
 * are bookkeeping (L2).  Baking carves what is mapped executable, or read only
 * of a file, out of it, and takes execution away from all the rest; after it,
 * PROT_EXEC is refused, and what was carved out stays as it is. */
#ifndef HL_ABI_LINUX_BAKE_H
#define HL_ABI_LINUX_BAKE_H

#include "abi/linux/process.h"

/* Put the program's interpreter into the arena, and its base into the image.
 * -ENOMEM, -EINVAL, and a sentence in `why`. */
int hl_linux_load_interpreter(struct hl_linux *linux_, struct hl_image *image,
                              char *why) HL_MUST_CHECK;

/* The final rights, for page tables that are to be made.  -ENOMEM: nothing
 * changed; -EINVAL: it was baked before. */
int hl_linux_bake(struct hl_linux *linux_,
                  struct hl_vm_config *vm) HL_MUST_CHECK;

#endif
