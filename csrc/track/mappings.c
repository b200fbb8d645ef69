#include "track/mappings.h"

#include "os/map.h"
#include "os/vma.h"
#include "track/look.h"
#include "track/range.h"
#include "why.h"

int hl_mappings_check(void *memory, size_t size, bool *zero_filled,
                      bool *fetched, char *why)
{
    const unsigned at_hand =
        HL_KIND_PRIVATE | HL_KIND_SHARED | HL_KIND_HUGETLB | HL_KIND_OWN_HEAP;
    struct hl_vma vma;
    int err = hl_vma_query(memory, size, &vma);

    if (err == -EFAULT)
        return hl_why(why, -EFAULT, "%#zx+%zu is not mapped throughout",
                      (size_t)memory, size);
    if (err == -EINVAL)
        return hl_why(why, -EFAULT, "parts of %#zx+%zu differ in protection",
                      (size_t)memory, size);
    if (err < 0)
        return hl_why(why, err, "/proc/self/maps: %s", hl_strerror(-err));
    if (hl_look_has_guards(memory, size))
        return hl_why(why, -EFAULT,
                      "%#zx+%zu holds guard pages (MADV_GUARD_INSTALL)",
                      (size_t)memory, size);
    /* Where it would change nothing, not even asked: a device's memory is not
     * to be registered. */
    bool far = vma.kinds & ~at_hand;
    bool foreign = (vma.anonymous || !far) && hl_look_is_foreign(memory, size);
    *zero_filled = vma.anonymous && !foreign;
    *fetched = far || foreign;
    return 0;
}

/* What a walk over mappings has found so far. */
struct look {
    uintptr_t start, at;
    const struct hl_pages *pages; /* of these; NULL: of all */
    int prot;
    int err; /* 0, -EACCES, or -EFAULT, which is worse */
};

static bool concerns(const struct look *l, uintptr_t start, uintptr_t end)
{
    size_t size = hl_page_size(), first = (start - l->start) / size;
    struct hl_run run;

    if (start >= end || l->pages == NULL)
        return start < end;
    return hl_pages_run(l->pages, &first, &run) &&
           run.first < (end - l->start) / size;
}

static void look_at(void *context, uintptr_t start, uintptr_t end, int prot,
                    unsigned kind)
{
    struct look *l = context;

    (void)kind;
    if (concerns(l, l->at, start))
        l->err = -EFAULT;
    if ((prot & l->prot) != l->prot && l->err == 0 && concerns(l, start, end))
        l->err = -EACCES;
    l->at = end;
}

/* Without /proc holes can be found, but rights cannot.  If descriptors or
 * memory ran out, that is the error. */
static int without_maps(const struct look *l, uintptr_t end, int err)
{
    const struct hl_run all = {0, (end - l->start) / hl_page_size()};
    struct hl_run run = all;

    if (err == -EMFILE || err == -ENFILE || err == -ENOMEM)
        return err;
    for (size_t at = 0;
         l->pages == NULL || hl_pages_run(l->pages, &at, &run);) {
        if (!hl_vma_is_mapped((char *)l->start + run.first * hl_page_size(),
                              run.count * hl_page_size()))
            return -EFAULT;
        if (l->pages == NULL)
            break;
    }
    return l->err;
}

static int look(const void *memory, size_t size, const struct hl_pages *pages,
                int prot)
{
    uintptr_t start = (uintptr_t)memory;
    struct look l = {start, start, pages, prot, 0};

    int err = hl_vma_each(memory, size, look_at, &l);
    if (err < 0)
        return without_maps(&l, start + size, err);
    return concerns(&l, l.at, start + size) ? -EFAULT : l.err;
}

int hl_mappings_can_read(const void *memory, size_t size)
{
    return look(memory, size, NULL, HL_PROT_READ);
}

static bool all_exist(const char *memory, const struct hl_pages *pages,
                      int prot)
{
    size_t size = hl_page_size();
    struct hl_run run;

    for (size_t at = 0; hl_pages_run(pages, &at, &run);)
        if (!hl_vma_populate(memory + run.first * size, run.count * size,
                             prot))
            return false;
    return true;
}

/* Where the kernel cannot be asked, pages that were written are made to exist,
 * which is the same as touching them and costs less than reading maps: but not
 * all that there are, of which many may never have been. */
int hl_mappings_can_touch(const char *memory, const struct hl_pages *pages,
                          int prot)
{
    size_t size = hl_page_size(), whole = pages->page_count * size;

    if (hl_vma_allows(memory, size, 0) == -ENOTTY &&
        hl_pages_count(pages) < pages->page_count &&
        all_exist(memory, pages, prot))
        return 0;
    return look(memory, whole, pages, prot);
}

bool hl_mappings_are_open(const void *memory, size_t size)
{
    uintptr_t at = (uintptr_t)memory, end = at + size, start, stop;

    while (at < end) {
        struct hl_vma vma;
        if (!hl_range_find((void *)at, end - at, &start, &stop))
            start = stop = end;
        if (start > at && hl_vma_query((void *)at, start - at, &vma) < 0)
            return false;
        if (start > at && ~vma.prot & (HL_PROT_READ | HL_PROT_WRITE))
            return false;
        at = stop;
    }
    return true;
}
