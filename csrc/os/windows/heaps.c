#include "os/windows/heaps.h"

#include <windows.h>

#define MOST_HEAPS 64

struct search {
    uintptr_t start, end;
    bool touched; /* by a region of a heap */
    bool inside;  /* one block in use */
};

static void look_at(struct search *s, const PROCESS_HEAP_ENTRY *entry)
{
    uintptr_t at = (uintptr_t)entry->lpData, end = at + entry->cbData;

    if (entry->wFlags & PROCESS_HEAP_REGION)
        end = at + entry->Region.dwCommittedSize +
              entry->Region.dwUnCommittedSize;
    if (at < s->end && s->start < end)
        s->touched = true;
    if (entry->wFlags & PROCESS_HEAP_ENTRY_BUSY && at <= s->start &&
        s->end <= end)
        s->inside = true;
}

static void walk(struct search *s, HANDLE heap)
{
    PROCESS_HEAP_ENTRY entry = {.lpData = NULL};

    if (!HeapLock(heap))
        return;
    while (!s->inside && HeapWalk(heap, &entry))
        look_at(s, &entry);
    (void)HeapUnlock(heap);
}

bool hl_heaps_own(uintptr_t start, uintptr_t end)
{
    struct search s = {start, end, false, false};
    HANDLE heaps[MOST_HEAPS];
    DWORD count = GetProcessHeaps(MOST_HEAPS, heaps);

    for (DWORD i = 0; i < count && i < MOST_HEAPS; i++)
        walk(&s, heaps[i]);
    return s.touched && !s.inside;
}
