/* Between memory and snapshots: capture, apply, compare.
 *
 * All three work on a run of pages and look slots up a few dozen at a time;
 * consecutive pages in consecutive slots are one copy.  `memory` is the first
 * byte of the region, not of the run.  Nothing here locks memory: see
 * mem/copy.h for what may race. */
#ifndef HL_SNAPSHOT_APPLY_H
#define HL_SNAPSHOT_APPLY_H

#include "base.h"
#include "mem/pages.h"
#include "snapshot/snapshot.h"

struct hl_applied {
    size_t copied; /* pages */
    size_t zeroed; /* pages */
};

/* Make the run's memory equal to the snapshot.  A page that is zero in the
 * snapshot is read first and written only if it is not zero, so that memory
 * nobody touched stays untouched; it then counts as zeroed.  Adds to *done.
 * past: copy by hl_copy_past, which the caller ends. */
void hl_apply(const struct hl_snapshot *snapshot, void *memory,
              struct hl_run run, bool past, struct hl_applied *done);

/* Add to differs the pages of the run whose memory is not what the snapshot
 * holds; return how many.  differs may be NULL. */
size_t hl_compare(const struct hl_snapshot *snapshot, const void *memory,
                  struct hl_run run, struct hl_pages *differs);

/* Add to filled the pages of the run that are not zero in the snapshot. */
void hl_find_filled(const struct hl_snapshot *snapshot, struct hl_run run,
                    struct hl_pages *filled);

/* The edits of a snapshot in the making; zero-initialize. */
struct hl_capture {
    struct hl_edit *edits; /* ascending by page */
    size_t count, cap;
};

/* Append an edit for each page of the run whose bytes differ from base (NULL:
 * from zero), storing its bytes; an all-zero page costs no slot.  Runs must
 * come ascending.  -ENOMEM: what was appended before is still in *capture;
 * the caller ends with hl_capture_discard. */
int hl_capture_run(struct hl_capture *capture, struct hl_store *store,
                   const struct hl_snapshot *base, const void *memory,
                   struct hl_run run) HL_MUST_CHECK;

/* Free the array; `discard` also gives back the slots in it. */
void hl_capture_free(struct hl_capture *capture);
void hl_capture_discard(struct hl_capture *capture, struct hl_store *store);

#endif
