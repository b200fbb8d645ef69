/* Runs: a page bitmap read as maximal stretches of consecutive set bits.
 *
 * Everything that copies, zeroes or re-arms pages works on runs, so that
 * neighbours share one memcpy or one syscall.  A clean GiB of 4 KiB pages is
 * 4096 loads.  Nothing here allocates, fails or locks. */
#ifndef HL_MEM_RUNS_H
#define HL_MEM_RUNS_H

#include "base.h"

struct hl_run {
    size_t first; /* page number */
    size_t count; /* pages, never 0 */
};

/* Fill runs[0..cap) with the next runs at or after *cursor, ascending, and
 * return how many; *cursor is where to go on.  A return below cap, 0 included,
 * means the end was reached.  Bits at or past page_count are ignored: some
 * hypervisors are known to set them. */
size_t hl_runs_next(const uint64_t *bits, size_t page_count, size_t *cursor,
                    struct hl_run *runs, size_t cap);

/* The first page at or after `page` whose bit is set, or page_count. */
size_t hl_page_next(const uint64_t *bits, size_t page_count, size_t page);

/* The next run at or after *cursor into *run, or false at the end: the form
 * for loops, `while (hl_run_next(bits, n, &cursor, &run))`. */
bool hl_run_next(const uint64_t *bits, size_t page_count, size_t *cursor,
                 struct hl_run *run);

#endif
