#include "track/look.h"

#include <stdlib.h>

#include "os/linux/pagemap.h"
#include "os/memory.h"
#include "track/linux/scan.h"
#include "track/linux/uffd_fd.h"

int hl_look_touched(const void *addr, size_t size, hl_look_found *found,
                    void *context)
{
    uintptr_t start = (uintptr_t)addr;
    struct hl_scan scan;

    scan.pace_written = scan.pace_exists = 0;
    int err = hl_scan_open(&scan);
    if (err < 0)
        return err;
    return hl_scan_walk(&scan, HL_SCAN_TOUCHED, start, start + size, found,
                        context);
}

static int scan_touched(const void *addr, struct hl_pages *touched)
{
    struct hl_scan scan;

    scan.pace_written = scan.pace_exists = 0;
    int err = hl_scan_open(&scan);
    if (err < 0)
        return err;
    return hl_scan_find(&scan, HL_SCAN_TOUCHED, addr,
                        (struct hl_run){0, touched->page_count}, touched);
}

/* Not on a kernel before 6.7; a pagemap costs 8 bytes a page. */
int hl_look_find_touched(const void *addr, struct hl_pages *touched)
{
    if (scan_touched(addr, touched) == 0)
        return 0;
    return hl_pagemap_find(addr, HL_PAGEMAP_PRESENT | HL_PAGEMAP_SWAPPED,
                           touched);
}

static void count_guards(void *context, uintptr_t start, uintptr_t end)
{
    *(size_t *)context += end - start;
}

/* As mappings they are readable, but touching one ends the process.  A kernel
 * without this query (before 6.15) has none, or does not report them. */
bool hl_look_has_guards(const void *memory, size_t size)
{
    uintptr_t start = (uintptr_t)memory;
    struct hl_scan *scan = calloc(1, sizeof *scan);
    size_t guarded = 0;

    if (scan != NULL && hl_scan_open(scan) == 0 &&
        hl_scan_walk(scan, HL_SCAN_GUARDED, start, start + size, count_guards,
                     &guarded) < 0)
        guarded = 0;
    free(scan);
    return guarded > 0;
}

bool hl_look_is_foreign(void *memory, size_t size)
{
    return hl_uffd_is_foreign(memory, size);
}

bool hl_look_is_own(const char *at, size_t pages)
{
    struct hl_pages found;

    if (hl_pages_init(&found, pages) < 0)
        return false;
    bool own = hl_pagemap_find(at, HL_PAGEMAP_EXCLUSIVE, &found) == 0 &&
               hl_pages_count(&found) == pages;
    hl_pages_free(&found);
    return own;
}

/* Pages that are swapped out or a huge page are told apart by a scan, for
 * which the region is registered. */
bool hl_look_is_split(const char *at, size_t pages)
{
    struct hl_run all = {0, pages};
    struct hl_pages found;
    struct hl_scan scan = {0};
    bool split = false;

    if (hl_pages_init(&found, pages) < 0)
        return false;
    if (hl_scan_open(&scan) == 0 &&
        hl_scan_find(&scan, HL_SCAN_HUGE, at, all, &found) == 0 &&
        hl_pages_count(&found) == 0 &&
        hl_scan_find(&scan, HL_SCAN_EXISTS, at, all, &found) == 0)
        split = hl_pages_count(&found) == pages && hl_look_is_own(at, pages);
    hl_pages_free(&found);
    return split;
}
