/* PAGEMAP_SCAN (Linux 6.7, Documentation/admin-guide/mm/pagemap.rst): which
 * pages of a range were written, and arming them, in one walk of the page
 * tables.  Costs about 1 ns a 4 KiB page, 60 ns a huge one. */
#ifndef HL_TRACK_LINUX_SCAN_H
#define HL_TRACK_LINUX_SCAN_H

#include "base.h"
#include "mem/pages.h"
#include "os/linux/uapi.h"

/* More of them would make the kernel allocate more memory in each call than
 * its caches hold: 1.2 us instead of 0.75 us for a scan that finds nothing. */
#define HL_SCAN_REGIONS 256

struct hl_scan {
    int fd; /* this process's /proc/self/pagemap */
    /* Of the last walks, in ps a page; 0: unknown. */
    unsigned pace_written, pace_exists;
    struct page_region regions[HL_SCAN_REGIONS];
};

/* The descriptor belongs to the process: there is nothing to close, but other
 * code that closes all descriptors may put another file in its place.  So open
 * before each series of walks; it costs 0.4 us. */
int hl_scan_open(struct hl_scan *scan) HL_MUST_CHECK;

enum hl_scan_for {
    HL_SCAN_WRITTEN,     /* written since armed, dropped pages included */
    HL_SCAN_ARM_WRITTEN, /* the same, each armed as it is found */
    HL_SCAN_ARM_TOUCHED, /* arm pages that exist, in memory or in swap */
    HL_SCAN_ARM_REST,    /* arm pages that do not exist; see below */
    HL_SCAN_PRESENT,     /* pages in memory */
    HL_SCAN_EXISTS,      /* the same or in swap, but for pages of zeros that
                            were only read */
    HL_SCAN_ABSENT,      /* neither in memory nor in swap, nor armed so */
    HL_SCAN_COPIES,      /* pages in memory that are no file's */
    HL_SCAN_HUGE,        /* huge pages, whole; of any memory */
    HL_SCAN_GUARDED,     /* guard pages (MADV_GUARD_INSTALL); of any memory */
    HL_SCAN_TOUCHED,     /* pages in memory or in swap; of any memory */
};

/* Looking at a page and arming it is one step, except for HL_SCAN_ARM_REST: if
 * there is no page table yet, the kernel looks at up to a GiB at once, and a
 * page first touched after that is armed as if it did not exist. */

/* Called with each stretch found, ascending. */
typedef void hl_scan_found(void *context, uintptr_t start, uintptr_t end);

/* Walk [start, end).  -EPERM: part of it is not registered for asynchronous
 * write protection (any more).  On any error some of what was found may not
 * have been passed on, although it was armed. */
int hl_scan_walk(struct hl_scan *scan, enum hl_scan_for what, uintptr_t start,
                 uintptr_t end, hl_scan_found *found,
                 void *context) HL_MUST_CHECK;

/* The same over a run of the region at addr, of which page 0 is there: add
 * what is found to a set. */
int hl_scan_find(struct hl_scan *scan, enum hl_scan_for what, const void *addr,
                 struct hl_run run, struct hl_pages *found) HL_MUST_CHECK;

#endif
