/* The table of a program's mappings: ascending, without overlap, neighbours
 * that are alike joined.  What lies in the memory is no concern of it. */
#ifndef HL_ABI_LINUX_MAPPINGS_H
#define HL_ABI_LINUX_MAPPINGS_H

#include "abi/linux/process.h"

/* The first mapping that ends behind addr. */
size_t hl_linux_mapping_behind(const struct hl_linux_process *process,
                               uint64_t addr);

/* Take [start, end) out of the table, and put `with`, if it is not NULL, in
 * its place.  -ENOMEM: nothing changed. */
int hl_linux_map_as(struct hl_linux *linux_, uint64_t start, uint64_t end,
                    const struct hl_linux_mapping *with) HL_MUST_CHECK;

/* The first mapping that ends behind start, begins before end, and was baked;
 * or mapping_count. */
size_t hl_linux_baked_in(const struct hl_linux_process *process,
                         uint64_t start, uint64_t end);

/* Is there room for that many more? */
bool hl_linux_can_map(const struct hl_linux *linux_, size_t more);

#endif
