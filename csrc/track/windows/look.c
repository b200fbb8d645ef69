#include "track/look.h"

/* The working set says which pages are in memory; of the rest nothing tells
 * those in the page file from those that nobody ever touched. */
int hl_look_touched(const void *addr, size_t size, hl_look_found *found,
                    void *context)
{
    (void)addr;
    (void)size;
    (void)found;
    (void)context;
    return -EOPNOTSUPP;
}

int hl_look_find_touched(const void *addr, struct hl_pages *touched)
{
    (void)addr;
    (void)touched;
    return -EOPNOTSUPP;
}

/* A guard is in the protection (PAGE_GUARD), which is looked at anyway. */
bool hl_look_has_guards(const void *memory, size_t size)
{
    (void)memory;
    (void)size;
    return false;
}

bool hl_look_is_foreign(void *memory, size_t size)
{
    (void)memory;
    (void)size;
    return false;
}

bool hl_look_is_own(const char *at, size_t pages)
{
    (void)at;
    (void)pages;
    return false;
}

bool hl_look_is_split(const char *at, size_t pages)
{
    (void)at;
    (void)pages;
    return false;
}
