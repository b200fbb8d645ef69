/* The page store by itself: what it hands out, what it keeps, what it gives
 * back. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "inject.h"
#include "stores.h"

#define HUGE ((size_t)512) /* pages in a huge one */

static uint64_t seed = 11;

/* Slots that this test holds, each page filled with its own number. */
struct held {
    struct hl_store *store;
    uint32_t *slots;
    size_t count, cap;
};

static void hold(struct held *held, size_t want)
{
    while (want > 0) {
        uint32_t first;
        ssize_t got = hl_store_alloc(held->store, want, &first);
        CHECK(got >= 1 && (size_t)got <= want);
        CHECK(held->count + (size_t)got <= held->cap);
        for (uint32_t i = 0; i < (uint32_t)got; i++) {
            uint32_t *page = hl_store_page(held->store, first + i);
            for (size_t j = 0; j < PAGE / sizeof *page; j += 64)
                page[j] = first + i;
            held->slots[held->count++] = first + i;
        }
        want -= (size_t)got;
    }
}

/* Give back the i-th; its bytes must be what they were. */
static void give_back(struct held *held, size_t i)
{
    uint32_t slot = held->slots[i];
    const uint32_t *page = hl_store_page(held->store, slot);
    for (size_t j = 0; j < PAGE / sizeof *page; j += 64)
        CHECK(page[j] == slot);
    held->slots[i] = held->slots[--held->count];
    hl_store_release(held->store, slot, 1);
}

static struct held new_held(size_t cap)
{
    struct held held = {.store = new_store(), .cap = cap};
    held.slots = malloc(cap * sizeof *held.slots);
    return held;
}

static void free_held(struct held *held)
{
    while (held->count > 0)
        give_back(held, held->count - 1);
    CHECK(usage_of(held->store).pages == 0);
    hl_store_unref(held->store);
    free(held->slots);
    check_nothing_alive();
}

/* How many of the slots are resident, whoever they belong to by now. */
static size_t resident(struct hl_store *store, const uint32_t *slots,
                       size_t count)
{
    size_t total = 0;

    for (size_t i = 0; i < count; i++) {
        unsigned char here = 0;
        /* Fails where a whole slab was unmapped. */
        if (mincore(hl_store_page(store, slots[i]), PAGE, &here) == 0)
            total += here & 1;
    }
    return total;
}

static void check_reserve(struct hl_store *store)
{
    struct hl_store_usage usage = usage_of(store);
    size_t most = usage.pages / 4 < 256 ? 256 : usage.pages / 4;
    CHECK(usage.reserved <= most * PAGE);
}

/* Allocate and give back at random: no slot twice, no byte changed, no more
 * kept than is allowed. */
static void random_slots(void)
{
    struct held held = new_held(20000);

    for (int step = 0; step < 400; step++) {
        size_t room = held.cap - held.count;
        size_t most = next_random(&seed) % 4 ? 40 : 3000;
        size_t want = next_random(&seed) % most + 1;
        if (next_random(&seed) % 2 && want <= room)
            hold(&held, want);
        for (size_t n = next_random(&seed) % most; n > 0 && held.count; n--) {
            give_back(&held, next_random(&seed) % held.count);
            check_reserve(held.store);
        }
        CHECK(usage_of(held.store).pages == held.count);
        CHECK(usage_of(held.store).bytes == held.count * PAGE);
    }
    free_held(&held);
}

/* One page of every 2 MiB stays; the others' memory goes. */
static void thin_out(struct held *held, uint32_t *all, size_t pages)
{
    hold(held, pages);
    memcpy(all, held->slots, pages * sizeof *all);
    for (size_t i = pages; i-- > 0;)
        if (i % HUGE != 100)
            give_back(held, i);
}

static void memory_goes_back(void)
{
    size_t pages = 16 * HUGE;
    struct held held = new_held(pages);
    uint32_t *all = malloc(pages * sizeof *all);

    thin_out(&held, all, pages);
    struct hl_store_usage usage = usage_of(held.store);
    CHECK(usage.pages == 16);
    check_reserve(held.store);
    CHECK(resident(held.store, all, pages) <=
          usage.pages + usage.reserved / PAGE);
    free_held(&held);
    free(all);
}

/* What the kernel was told about huge pages at an address: 'h' (use them),
 * 'n' (do not), 0 (nothing, or it has none), '?' (it does not show it). */
static char huge_advice(const void *address)
{
    uintptr_t at = (uintptr_t)address, from, to;
    char line[512], answer = '?';
    bool here = false;
    FILE *file = fopen("/proc/self/smaps", "r");

    CHECK(file != NULL);
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = at >= from && at < to;
        if (here && strncmp(line, "VmFlags:", 8) == 0)
            answer = strstr(line, " hg") ? 'h' : strstr(line, " nh") ? 'n' : 0;
    }
    fclose(file);
    return answer;
}

/* User-mode QEMU keeps advice to itself. */
static bool shows_advice(void)
{
    void *at = mmap(NULL, HL_HUGE_SIZE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(at != MAP_FAILED);
    bool shown = madvise(at, HL_HUGE_SIZE, MADV_NOHUGEPAGE) == 0 &&
                 huge_advice(at) == 'n';
    munmap(at, HL_HUGE_SIZE);
    return shown;
}

/* khugepaged fills the holes of what was advised to be huge, and one page
 * stored there brings in 512: neither may happen to pages that stay. */
static void holes_stay_holes(void)
{
    size_t pages = 16 * HUGE;
    struct held held = new_held(pages + 1);
    uint32_t *all = malloc(pages * sizeof *all);

    hold(&held, 1);
    if (!shows_advice() || !hl_huge_is_wanted()) {
        printf("skipped: no transparent huge pages, none shown, or large\n");
    } else {
        CHECK(huge_advice(hl_store_page(held.store, held.slots[0])) == 'n');
        give_back(&held, 0);
        thin_out(&held, all, pages);
        for (size_t i = 0; i < held.count; i++)
            CHECK(huge_advice(hl_store_page(held.store, held.slots[i])) ==
                  'n');
        free_held(&held);
        held = new_held(pages);
        hold(&held, pages);
        CHECK(huge_advice(hl_store_page(held.store, held.slots[pages / 2])) ==
              'h');
    }
    free_held(&held);
    free(all);
}

/* Slots in a slab of their own, so far from its start in huge pages. */
#define SLAB ((size_t)256 * 15)

static char advice_at(const struct held *held, size_t slot)
{
    return huge_advice(hl_store_page(held->store, held->slots[slot]));
}

/* A hole takes away the huge pages that it is in, and no others. */
static void only_holes_lose_huge_pages(void)
{
    struct held held = new_held(SLAB + 8 * HUGE);
    size_t first = SLAB + 2 * HUGE + 100, count = 4 * HUGE + 400;

    hold(&held, held.cap);
    char whole = advice_at(&held, SLAB);
    hl_store_release(held.store, held.slots[first], count);
    CHECK(advice_at(&held, SLAB + 2 * HUGE - 1) == whole);
    char around = advice_at(&held, first - 1);
    CHECK(around == 0 || around == 'n');
    CHECK(advice_at(&held, first + count) == around);
    CHECK(advice_at(&held, SLAB + 7 * HUGE) == whole);
    memmove(&held.slots[first], &held.slots[first + count],
            (held.cap - first - count) * sizeof *held.slots);
    held.count -= count;
    free_held(&held);
}

/* A few free pages here and there neither break up a run nor go to waste. */
static void crumbs(void)
{
    struct held held = new_held(40000);
    uint32_t first, end = 0;

    hold(&held, 20000);
    for (int i = 0; i < 30; i++) { /* which is no reason to miscount them */
        CHECK(hl_store_alloc(held.store, 200, &first) == 200);
        hl_store_release(held.store, first, 200);
    }
    hold(&held, 200);
    for (size_t i = 0; i < held.count; i++)
        end = held.slots[i] > end ? held.slots[i] : end;
    for (size_t i = 0; i < 40; i++)
        give_back(&held, i * 400);
    CHECK(hl_store_alloc(held.store, 64, &first) == 64);
    CHECK(first > end);
    hl_store_release(held.store, first, 64);
    /* Many, a quarter of what lives or more, come before anything new. */
    for (size_t i = held.count; i-- > 0;)
        if (held.slots[i] % 2)
            give_back(&held, i);
    size_t before = held.count;
    hold(&held, 4500);
    for (size_t i = before; i < held.count; i++)
        CHECK(held.slots[i] <= end + 64);
    free_held(&held);
}

/* A loop that stores and drops a few pages stays on the same ones. */
static void same_pages_again(void)
{
    struct held held = new_held(20000);
    uint32_t first, again;

    hold(&held, 20000);
    CHECK(hl_store_alloc(held.store, 16, &first) == 16);
    for (int i = 0; i < 100; i++) {
        hl_store_release(held.store, first, 16);
        CHECK(hl_store_alloc(held.store, 16, &again) == 16);
        CHECK(again == first);
    }
    hl_store_release(held.store, first, 16);
    free_held(&held);
}

#ifdef HL_FAULT_INJECTION
/* Where there is no room for the next slab, a smaller one will do; numbers
 * that were left out belong to nobody. */
static void smaller_slabs(void)
{
    struct held held = new_held(40000);

    for (unsigned i = 0; held.count + 3000 < held.cap; i++) {
        hl_inject_plan(HL_INJECT_SLAB, 0, 1 + i % 4);
        hold(&held, 2000);
        CHECK(usage_of(held.store).pages == held.count);
    }
    hl_inject_plan(HL_INJECT_SLAB, 0, 0);
    free_held(&held);
}

/* The last free slots are given out before anybody hears of -ENOMEM, few and
 * scattered as they are. */
static void crumbs_are_better_than_nothing(void)
{
    struct held held = new_held(20000);
    uint32_t first;

    hold(&held, 256 + 512 + 1024); /* all of three slabs */
    for (size_t i = 0; i < 40; i++)
        give_back(&held, i * 37);
    hl_inject_plan(HL_INJECT_SLAB, 0, UINT32_MAX);
    hold(&held, 40);
    CHECK(hl_store_alloc(held.store, 1, &first) == -ENOMEM);
    hl_inject_plan(HL_INJECT_SLAB, 0, 0);
    hold(&held, 1);
    free_held(&held);
}
#endif

int main(void)
{
    RUN(random_slots);
    RUN(memory_goes_back);
    RUN(holes_stay_holes);
    RUN(only_holes_lose_huge_pages);
    RUN(crumbs);
    RUN(same_pages_again);
#ifdef HL_FAULT_INJECTION
    RUN(smaller_slabs);
    RUN(crumbs_are_better_than_nothing);
#endif
    return 0;
}
