#include "mappings.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "mem/map.h"
#include "mem/vma.h"
#include "track/scan.h"
#include "track/uffd_fd.h"
#include "why.h"

static void count_guards(void *context, uintptr_t start, uintptr_t end)
{
    *(size_t *)context += end - start;
}

/* As mappings they are readable; who touches one dies.  A kernel that does not
 * know the question (before 6.15) has none, or keeps them to itself. */
static bool has_guards(const void *memory, size_t size)
{
    uintptr_t start = (uintptr_t)memory;
    struct hl_scan *scan = malloc(sizeof *scan);
    size_t guarded = 0;

    if (scan != NULL && hl_scan_open(scan) == 0 &&
        hl_scan_walk(scan, HL_SCAN_GUARDED, start, start + size, count_guards,
                     &guarded) < 0)
        guarded = 0;
    free(scan);
    return guarded > 0;
}

int hl_mappings_check(void *memory, size_t size, bool *zero_filled, char *why)
{
    struct hl_vma vma;
    int err = hl_vma_query(memory, size, &vma);

    if (err == -EFAULT)
        return hl_why(why, -EFAULT, "%p+%zu is not mapped throughout", memory,
                      size);
    if (err == -EINVAL)
        return hl_why(why, -EFAULT, "parts of %p+%zu differ in protection",
                      memory, size);
    if (err < 0)
        return hl_why(why, err, "/proc/self/maps: %s", hl_strerror(-err));
    if (has_guards(memory, size))
        return hl_why(why, -EFAULT,
                      "%p+%zu holds guard pages (MADV_GUARD_INSTALL)", memory,
                      size);
    *zero_filled = vma.anonymous && !hl_uffd_is_foreign(memory, size);
    return 0;
}

int hl_mappings_can_read(const void *memory, size_t size)
{
    int err = hl_vma_allows(memory, size, PROT_READ);
    return err == -ENOTTY ? hl_vma_allows_by_text(memory, size, PROT_READ)
                          : err;
}

/* Where the kernel cannot be asked, the pages are made to exist, which costs
 * little more than touching them.  It refuses that for armed pages too, so
 * maps are read then: of all the memory at first, which mostly settles it. */
int hl_mappings_can_touch(const char *memory, const struct hl_pages *pages,
                          int prot)
{
    size_t size = hl_page_size();
    bool all_read = false;
    struct hl_run run;

    for (size_t at = 0; hl_pages_run(pages, &at, &run);) {
        const char *addr = memory + run.first * size;
        size_t length = run.count * size;
        int err = hl_vma_allows(addr, length, prot);
        if (err == 0 ||
            (err == -ENOTTY && hl_vma_populate(addr, length, prot)))
            continue;
        if (err == -ENOTTY && !all_read) {
            all_read = true;
            if (hl_vma_allows_by_text(memory, pages->page_count * size,
                                      prot) == 0)
                return 0;
        }
        if (err == -ENOTTY)
            err = hl_vma_allows_by_text(addr, length, prot);
        if (err < 0)
            return err;
    }
    return 0;
}
