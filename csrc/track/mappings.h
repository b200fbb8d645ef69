/* Checks of mappings before memory is touched: touching a hole, a guard page,
 * or a page that its owner closed ends the process.  Any thread. */
#ifndef HL_TRACK_MAPPINGS_H
#define HL_TRACK_MAPPINGS_H

#include "base.h"
#include "mem/pages.h"

/* What the kernel reports for [memory, +size), in our words: a hole in it is a
 * wrong argument, not a lack of memory.  Fills in whether untouched memory is
 * zero, and whether a page may have to be fetched first, by the kernel from a
 * file or by a thread of this process.  -EFAULT: it has a hole, or a guard, or
 * parts that differ; otherwise the error of /proc/self/maps; `why` has a
 * sentence. */
int hl_mappings_check(void *memory, size_t size, bool *zero_filled,
                      bool *fetched, char *why) HL_MUST_CHECK;

/* Is [memory, +size) readable and writable throughout, or was it before it was
 * tracked?  A tracker may have closed any page of a claimed range
 * (track/range.h), which was open when it was claimed. */
bool hl_mappings_are_open(const void *memory, size_t size);

/* Before all of it is read, which costs more than this however many mappings
 * there are.  -EFAULT: it has a hole; -EACCES: part of it is closed. */
int hl_mappings_can_read(const void *memory, size_t size) HL_MUST_CHECK;

/* The same of these pages, before they are touched in the ways of `prot`. */
int hl_mappings_can_touch(const char *memory, const struct hl_pages *pages,
                          int prot) HL_MUST_CHECK;

#endif
