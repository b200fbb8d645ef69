/* Memory of what there may be thousands of, such as sandboxes: in one mapping
 * with its neighbours, and given back with them.
 *
 * For each range that is given back, the kernel asks every virtual machine of
 * the process whether it uses it: with a thousand of them that is 0.2 ms, and
 * as much again where a mapping is cut in two.  So where there are many, what
 * is given back waits a while, and what adjoins goes in one piece.
 *
 *  J1. Nothing waits while fewer than HL_JOINED_MANY are in use.
 *  J2. At most HL_JOINED_WAIT bytes wait, in HL_JOINED_RANGES ranges.
 *  J3. What waits is nobody's: nothing is put there, and nobody reads it.
 *      Where there is no room for more memory, it is given back first.
 *
 * Threads: any.  A child of fork has what its parent had. */
#ifndef HL_OS_JOINED_H
#define HL_OS_JOINED_H

#include "base.h"
#include "os/memory.h"

#define HL_JOINED_MANY ((size_t)128)
#define HL_JOINED_WAIT ((size_t)16 << 20)
#define HL_JOINED_RANGES 16

/* Zero-filled, private, without huge pages; `size` is whole pages. */
int hl_joined_reserve(const struct hl_backing *backing, size_t size,
                      void **addr) HL_MUST_CHECK;
/* One more is in use, which was mapped elsewhere: a machine of the kernel,
 * which ends with its last mapping. */
void hl_joined_adopt(void);
/* All of what was reserved or adopted. */
void hl_joined_release(void *addr, size_t size);

/* hl_memory_reserve, for all that this library reserves (J3). */
int hl_joined_make_room(const struct hl_backing *backing, size_t size,
                        bool usable, void **addr) HL_MUST_CHECK;

/* Give back what waits, at once; returns how many bytes. */
size_t hl_joined_flush(void);
size_t hl_joined_waiting(void);

#endif
