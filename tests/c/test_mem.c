/* Bitmaps, runs and byte helpers against the plainest way to do the same. */
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "mem/bitmap.h"
#include "mem/copy.h"
#include "mem/map.h"
#include "mem/runs.h"
#include "mem/vma.h"

#define MOST 300

static uint64_t seed = 1;

/* Exactly as long as it must be, so that a sanitizer sees one word more. */
static uint64_t *random_bits(size_t pages)
{
    size_t words = hl_bitmap_words(pages);
    uint64_t *bits = malloc(words ? words * 8 : 1);
    for (size_t i = 0; i < words; i++) {
        uint64_t a = next_random(&seed), b = next_random(&seed);
        bits[i] = seed & 1 ? a & b : a | b;
        if (next_random(&seed) % 4 == 0)
            bits[i] = seed & 2 ? UINT64_MAX : 0;
    }
    return bits;
}

static void runs_are_what_bits_say(void)
{
    for (int i = 0; i < 20000; i++) {
        size_t pages = next_random(&seed) % MOST, cursor = 0, at = 0, n;
        size_t cap = 1 + next_random(&seed) % 5;
        uint64_t *bits = random_bits(pages);
        struct hl_run runs[5];
        do {
            n = hl_runs_next(bits, pages, &cursor, runs, cap);
            for (size_t r = 0; r < n; r++) {
                CHECK(runs[r].count > 0);
                for (; at < runs[r].first; at++)
                    CHECK(!hl_bitmap_test(bits, at));
                for (; at < runs[r].first + runs[r].count; at++)
                    CHECK(hl_bitmap_test(bits, at));
                CHECK(at <= pages);
                CHECK(at == pages || !hl_bitmap_test(bits, at));
            }
        } while (n == cap);
        for (; at < pages; at++)
            CHECK(!hl_bitmap_test(bits, at));
        free(bits);
    }
}

static void ranges_touch_only_themselves(void)
{
    for (int i = 0; i < 5000; i++) {
        size_t pages = 1 + next_random(&seed) % MOST;
        size_t first = next_random(&seed) % pages;
        size_t count = next_random(&seed) % (pages - first + 1);
        uint64_t *bits = random_bits(pages), *was = random_bits(pages);
        size_t bytes = hl_bitmap_words(pages) * 8;
        bool set = next_random(&seed) & 1, atomic = next_random(&seed) & 1;
        memcpy(was, bits, bytes);
        if (set && atomic)
            hl_bitmap_atomic_set_range(bits, first, count);
        else if (set)
            hl_bitmap_set_range(bits, first, count);
        else if (atomic)
            hl_bitmap_atomic_clear_range(bits, first, count);
        else
            hl_bitmap_clear_range(bits, first, count);
        size_t total = 0;
        for (size_t p = 0; p < hl_bitmap_words(pages) * 64; p++) {
            bool in = p >= first && p < first + count;
            CHECK(hl_bitmap_test(bits, p) ==
                  (in ? set : hl_bitmap_test(was, p)));
            total += p < pages && hl_bitmap_test(bits, p);
        }
        CHECK(hl_bitmap_count(bits, pages) == total);
        CHECK(hl_bitmap_any(bits, pages) == (total > 0));
        free(bits);
        free(was);
    }
}

static void words_combine(void)
{
    for (int i = 0; i < 2000; i++) {
        size_t pages = 1 + next_random(&seed) % MOST;
        uint64_t *a = random_bits(pages), *b = random_bits(pages);
        uint64_t *sum = random_bits(pages), *less = random_bits(pages);
        uint64_t *same = random_bits(pages);
        size_t bytes = hl_bitmap_words(pages) * 8;
        memcpy(sum, a, bytes);
        memcpy(less, a, bytes);
        memcpy(same, a, bytes);
        hl_bitmap_or(sum, b, pages);
        hl_bitmap_atomic_or(same, b, pages);
        hl_bitmap_andnot(less, b, pages);
        CHECK(memcmp(sum, same, bytes) == 0);
        for (size_t p = 0; p < pages; p++) {
            bool in_a = hl_bitmap_test(a, p), in_b = hl_bitmap_test(b, p);
            CHECK(hl_bitmap_test(sum, p) == (in_a || in_b));
            CHECK(hl_bitmap_test(less, p) == (in_a && !in_b));
        }
        hl_bitmap_zero(a, pages);
        CHECK(!hl_bitmap_any(a, pages));
        free(a);
        free(b);
        free(sum);
        free(less);
        free(same);
    }
}

/* One byte that is not zero, at every place. */
static void one_byte_makes_a_difference(void)
{
    char *one = aligned_alloc(64, 4096), *two = aligned_alloc(64, 4096);
    memset(one, 0, 4096);
    memset(two, 0, 4096);
    CHECK(hl_is_zero(one, 4096));
    for (size_t i = 0; i < 4096; i++) {
        one[i] = 1;
        CHECK(!hl_is_zero(one, 4096));
        CHECK(!hl_equal(one, two, 4096));
        hl_copy(two, one, 4096);
        CHECK(hl_equal(one, two, 4096) && two[i] == 1);
        hl_zero(one, 4096);
        hl_zero(two, 4096);
        CHECK(hl_is_zero(two, 4096) && hl_equal(one, two, 4096));
    }
    free(one);
    free(two);
}

static void mappings(void)
{
    size_t page = hl_page_size();
    struct hl_vma vma;
    struct hl_map map;

    CHECK(hl_map_create(&map, 0, HL_HUGE_NEVER) == -ENOMEM);
    CHECK(hl_map_create(&map, SIZE_MAX, HL_HUGE_NEVER) == -ENOMEM);
    CHECK(hl_map_create(&map, SIZE_MAX / 2, HL_HUGE_ALWAYS) < 0);
    CHECK(hl_map_count() == 0);
    for (int huge = HL_HUGE_NEVER; huge <= HL_HUGE_ALWAYS; huge++) {
        CHECK(hl_map_create(&map, 5 * page - 1, (enum hl_huge)huge) == 0);
        CHECK(map.size == 5 * page && hl_map_count() == 1);
        CHECK(hl_vma_query(map.addr, map.size, &vma) == 0);
        CHECK(vma.prot == (PROT_READ | PROT_WRITE) && vma.anonymous);
        CHECK(hl_vma_query(map.addr, map.size + page, &vma) == -EINVAL);
        CHECK(!hl_is_readable((uintptr_t)map.addr - 8));
        CHECK(!hl_is_readable((uintptr_t)map.addr + map.size));
        CHECK(hl_is_writable((uintptr_t)map.addr));
        CHECK(mprotect(map.addr, page, PROT_READ) == 0);
        CHECK(hl_is_readable((uintptr_t)map.addr));
        CHECK(!hl_is_writable((uintptr_t)map.addr));
        CHECK(hl_vma_query(map.addr, map.size, &vma) == -EINVAL);
        hl_map_destroy(&map);
        hl_map_destroy(&map);
        CHECK(hl_map_count() == 0);
    }
    CHECK(hl_vma_query((void *)page, page, &vma) == -ENOMEM);
}

int main(void)
{
    RUN(runs_are_what_bits_say);
    RUN(ranges_touch_only_themselves);
    RUN(words_combine);
    RUN(one_byte_makes_a_difference);
    RUN(mappings);
    return 0;
}
