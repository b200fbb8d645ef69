/* Memory, and which pages of it the guest wrote: the emulator's writes are
 * this process's, which Windows notes for memory that was reserved so. */
#include <stdlib.h>
#include <string.h>

#include "fake/whp/inside.h"

#define PAGE HL_WHP_PAGE
#define BATCH 512

static uint64_t words_of(uint64_t pages) { return (pages + 63) / 64; }

static HRESULT refused(HRESULT result)
{
    fake_count(FAKE_VIOLATIONS, 1);
    return result;
}

static bool overlaps(const struct fake_partition *p, uint64_t addr,
                     uint64_t size)
{
    for (size_t i = 0; i < p->range_count; i++)
        if (addr < p->ranges[i].addr + p->ranges[i].size &&
            p->ranges[i].addr < addr + size)
            return true;
    return false;
}

static bool is_watched(void *host, uint64_t size)
{
    void *found[1];
    ULONG_PTR count = 1;
    DWORD unit;

    return GetWriteWatch(0, host, size, found, &count, &unit) == 0;
}

static HRESULT map(struct fake_partition *p, void *host, uint64_t addr,
                   uint64_t size, WHV_MAP_GPA_RANGE_FLAGS flags)
{
    const bool tracked = (flags & WHvMapGpaRangeFlagTrackDirtyPages) != 0;

    if (!p->set_up || size == 0 ||
        ((uintptr_t)host | addr | size) % PAGE != 0 ||
        (flags & WHvMapGpaRangeFlagRead) == 0 ||
        p->range_count == HL_VM_SLOTS || overlaps(p, addr, size))
        return refused(E_INVALIDARG);
    if (tracked && fake_whp_switched(FAKE_REFUSE_FLAG)) {
        fake_count(FAKE_FAILED, 1);
        return E_INVALIDARG;
    }
    if (fake_whp_switched(FAKE_ONE_PARTITION) && fake_other_has_memory(p)) {
        fake_count(FAKE_FAILED, 1);
        return E_INVALIDARG;
    }
    if (tracked && !is_watched(host, size))
        return refused(E_INVALIDARG);
    struct fake_range *r = &p->ranges[p->range_count];
    *r = (struct fake_range){
        .addr = addr, .size = size, .host = host, .tracked = tracked};
    if (tracked) {
        r->dirty = calloc(words_of(size / PAGE), sizeof *r->dirty);
        r->told = calloc(words_of(size / PAGE), sizeof *r->told);
    }
    p->range_count++;
    fake_count(FAKE_MAPPINGS, 1);
    fake_engine_end(p);
    return tracked && (!r->dirty || !r->told) ? E_OUTOFMEMORY : S_OK;
}

HRESULT WINAPI fake_map(WHV_PARTITION_HANDLE handle, void *host,
                        WHV_GUEST_PHYSICAL_ADDRESS addr, UINT64 size,
                        WHV_MAP_GPA_RANGE_FLAGS flags)
{
    FAKE_BEGIN(FAKE_MAP);
    struct fake_partition *p = fake_take(handle);
    if (p == NULL)
        return E_INVALIDARG;
    HRESULT result = map(p, host, addr, size, flags);
    if (SUCCEEDED(result) && fake_is_lost()) { /* as if it had not been */
        p->range_count--;
        free(p->ranges[p->range_count].dirty);
        free(p->ranges[p->range_count].told);
        fake_count(FAKE_MAPPINGS, -1);
    }
    fake_release(p);
    return fake_end(result);
}

void fake_unmap_all(struct fake_partition *p)
{
    for (size_t i = 0; i < p->range_count; i++) {
        free(p->ranges[i].dirty);
        free(p->ranges[i].told);
    }
    fake_count(FAKE_MAPPINGS, -(long)p->range_count);
    p->range_count = 0;
}

void fake_watch(struct fake_partition *p)
{
    for (size_t i = 0; i < p->range_count; i++)
        if (p->ranges[i].tracked)
            (void)ResetWriteWatch(p->ranges[i].host, p->ranges[i].size);
}

/* The guest wrote it. */
static void note(struct fake_range *r, size_t page)
{
    const uint64_t bit = UINT64_C(1) << page % 64;
    uint64_t *told = &r->told[page / 64];
    const bool missed = fake_whp_switched(FAKE_MISSED_REARM) && (*told & bit);

    *told &= ~bit;
    if (!missed)
        r->dirty[page / 64] |= bit;
}

void fake_note_writes(struct fake_partition *p)
{
    void *found[BATCH];
    DWORD unit;

    for (size_t i = 0; i < p->range_count; i++) {
        struct fake_range *r = &p->ranges[i];
        ULONG_PTR count = r->tracked ? BATCH : 0;
        while (count == BATCH) {
            if (GetWriteWatch(WRITE_WATCH_FLAG_RESET, r->host, r->size, found,
                              &count, &unit) != 0)
                abort();
            for (size_t n = 0; n < count; n++)
                note(r, (size_t)((char *)found[n] - r->host) / PAGE);
        }
    }
}

static struct fake_range *tracked_at(struct fake_partition *p, uint64_t addr,
                                     uint64_t size)
{
    for (size_t i = 0; i < p->range_count; i++) {
        struct fake_range *r = &p->ranges[i];
        if (r->tracked && addr >= r->addr && addr - r->addr < r->size &&
            size <= r->size - (addr - r->addr))
            return r;
    }
    return NULL;
}

static bool take_bit(struct fake_range *r, size_t page)
{
    const uint64_t bit = UINT64_C(1) << page % 64;
    const bool dirty = (r->dirty[page / 64] & bit) != 0;

    r->dirty[page / 64] &= ~bit;
    if (dirty)
        r->told[page / 64] |= bit;
    return dirty;
}

static void answer(struct fake_range *r, size_t first, size_t count,
                   uint64_t *bits)
{
    const bool all = fake_whp_switched(FAKE_FIRST_ALL_DIRTY) && !r->asked;

    memset(bits, 0, words_of(count) * sizeof *bits);
    for (size_t i = 0; i < count; i++) {
        bool dirty = take_bit(r, first + i) || all;
        if (dirty && !fake_is_lost()) {
            bits[i / 64] |= UINT64_C(1) << i % 64;
            fake_count(FAKE_PAGES_TOLD, 1);
        }
    }
    if (fake_whp_switched(FAKE_STRAY_BITS) && count % 64 != 0)
        bits[count / 64] |= UINT64_MAX << count % 64;
    r->asked = true;
    fake_count(FAKE_PAGES_ASKED, (long)count);
}

static HRESULT query(struct fake_partition *p, uint64_t addr, uint64_t size,
                     uint64_t *bits, uint64_t bits_size)
{
    const uint64_t pages = size / PAGE;

    if (size == 0 || (addr | size) % PAGE != 0 || (uintptr_t)bits % 8 != 0 ||
        bits_size < words_of(pages) * sizeof *bits)
        return refused(E_INVALIDARG);
    struct fake_range *r = tracked_at(p, addr, size);
    if (r == NULL)
        return refused(HL_WHV_E_GPA_RANGE_NOT_FOUND);
    answer(r, (addr - r->addr) / PAGE, pages, bits);
    return S_OK;
}

HRESULT WINAPI fake_query(WHV_PARTITION_HANDLE handle,
                          WHV_GUEST_PHYSICAL_ADDRESS addr, UINT64 size,
                          UINT64 *bits, UINT32 bits_size)
{
    FAKE_BEGIN(FAKE_QUERY);
    struct fake_partition *p = fake_take(handle);
    if (p == NULL)
        return E_INVALIDARG;
    HRESULT result = query(p, addr, size, bits, bits_size);
    fake_release(p);
    return fake_end(result);
}
