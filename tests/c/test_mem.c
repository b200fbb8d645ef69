/* Bitmaps, runs and byte helpers against the plainest way to do the same. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "inject.h"
#include "mem/bitmap.h"
#include "mem/copy.h"
#include "mem/pages.h"
#include "mem/runs.h"
#include "os/map.h"
#include "os/page.h"
#include "os/vma.h"

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
        free(bits);
        free(was);
    }
}

/* Enough for several words of marks. */
#define SET_PAGES ((size_t)3 * 64 * 64 + 77)

struct both {
    struct hl_pages set;
    bool *plain;
};

static struct both new_both(size_t pages)
{
    struct both b = {.plain = calloc(pages, 1)};
    CHECK(hl_pages_init(&b.set, pages) == 0);
    return b;
}

static void free_both(struct both *b)
{
    hl_pages_free(&b->set);
    free(b->plain);
}

static void check_marks(const struct hl_pages *set) /* P1 */
{
    for (size_t w = 0; w * 64 < set->page_count; w++)
        CHECK(hl_bitmap_test(set->marks, w) == (set->bits[w] != 0));
    for (size_t m = 0; m * 4096 < set->page_count; m++)
        CHECK(hl_bitmap_test(set->tops, m) == (set->marks[m] != 0));
}

static void check_both(const struct both *b)
{
    size_t pages = b->set.page_count, total = 0, at = 0, cursor = 0;
    uint64_t *bits = calloc(hl_bitmap_words(pages), 8);
    struct hl_run run;

    hl_pages_read(&b->set, bits);
    for (size_t p = 0; p < pages; p++) {
        total += b->plain[p];
        CHECK(hl_pages_has(&b->set, p) == b->plain[p]);
        CHECK(hl_bitmap_test(bits, p) == b->plain[p]);
    }
    CHECK(hl_pages_count(&b->set) == total);
    while (hl_pages_run(&b->set, &cursor, &run)) {
        for (; at < run.first; at++)
            CHECK(!b->plain[at]);
        for (; at < run.first + run.count; at++)
            CHECK(b->plain[at]);
        CHECK(at == pages || !b->plain[at]);
    }
    for (; at < pages; at++)
        CHECK(!b->plain[at]);
    free(bits);
    check_marks(&b->set);
}

static void change_one(struct both *b, bool atomic)
{
    size_t pages = b->set.page_count;
    bool add = next_random(&seed) & 1;
    struct hl_run run = {next_random(&seed) % pages, 1};

    if (next_random(&seed) & 1)
        run.count = next_random(&seed) % (pages - run.first + 1);
    if (atomic)
        (add ? hl_pages_atomic_add : hl_pages_atomic_remove)(&b->set, run);
    else if (run.count != 1)
        (add ? hl_pages_add_range : hl_pages_remove_range)(&b->set, run);
    else
        (add ? hl_pages_add : hl_pages_remove)(&b->set, run.first);
    memset(b->plain + run.first, add, run.count);
}

static void combine(struct both *a, const struct both *b, uint64_t how)
{
    if (how == 0)
        hl_pages_or(&a->set, &b->set);
    else if (how == 1)
        hl_pages_andnot(&a->set, &b->set);
    else if (how == 2)
        hl_pages_copy(&a->set, &b->set);
    else if (how == 3)
        hl_pages_atomic_or(&a->set, &b->set);
    else if (how == 4)
        hl_pages_empty(&a->set);
    else
        hl_pages_fill(&a->set);
    for (size_t p = 0; p < a->set.page_count; p++) {
        bool one = a->plain[p], two = b->plain[p];
        bool result[] = {one || two, one && !two, two, one || two, 0, 1};
        a->plain[p] = result[how];
    }
}

static void sets_are_what_was_added(void)
{
    for (int i = 0; i < 300; i++) {
        size_t pages = 1 + next_random(&seed) % (i % 4 ? MOST : SET_PAGES);
        struct both a = new_both(pages), b = new_both(pages);
        for (int k = 0; k < 20; k++) {
            change_one(next_random(&seed) & 1 ? &a : &b, i & 1);
            if (next_random(&seed) % 3 == 0)
                combine(&a, &b, next_random(&seed) % 6);
            check_both(&a);
        }
        check_both(&b);
        free_both(&a);
        free_both(&b);
    }
}

/* What an empty region costs: no page of it is looked at. */
static void little_is_found_without_a_walk(void)
{
    struct hl_pages set;
    struct hl_run run = {SET_PAGES - 1, 1};
    size_t words = 0, cursor = 0;

    CHECK(hl_pages_init(&set, SET_PAGES) == 0);
    hl_pages_fill(&set);
    hl_pages_empty(&set);
    hl_pages_add_range(&set, run);
    for (size_t w = 0; hl_pages_word(&set, &w); w++)
        words++;
    CHECK(words == 1);
    CHECK(hl_pages_run(&set, &cursor, &run) && run.first == SET_PAGES - 1);
    hl_pages_andnot(&set, &set);
    cursor = 0;
    CHECK(!hl_pages_word(&set, &cursor));
    hl_pages_free(&set);
}

/* One thread adds a page while another removes the others of the same word:
 * it must be found afterwards, whoever was first. */
static struct hl_pages shared;
static atomic_size_t asked, told;

static void *add_pages(void *argument)
{
    (void)argument;
    for (size_t i = 1; i <= 1500; i++) {
        while (atomic_load(&asked) < i)
            ;
        hl_pages_atomic_add(&shared, (struct hl_run){64 + i % 64, 1});
        atomic_store(&told, i);
    }
    return NULL;
}

static void added_while_others_are_removed(void)
{
    pthread_t thread;

    CHECK(hl_pages_init(&shared, 128) == 0);
    hl_inject_plan(HL_INJECT_LINGER, 0, UINT32_MAX);
    CHECK(pthread_create(&thread, NULL, add_pages, NULL) == 0);
    for (size_t i = 1; i <= 1500; i++) {
        atomic_store(&asked, i);
        hl_pages_atomic_remove(&shared, (struct hl_run){64, i % 64});
        while (atomic_load(&told) < i)
            ;
        CHECK(hl_pages_next(&shared, 0) == 64 + i % 64);
        hl_pages_atomic_remove(&shared, (struct hl_run){64, 64});
    }
    CHECK(pthread_join(thread, NULL) == 0);
    hl_inject_plan(HL_INJECT_LINGER, 0, 0);
    hl_pages_free(&shared);
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

/* Exactly these bytes, of any whole number of lines. */
static void past_the_caches(void)
{
    enum { BYTES = 2 * 4096 };
    unsigned char *from = aligned_alloc(64, BYTES);
    unsigned char *to = aligned_alloc(64, BYTES);

    for (size_t size = 64; size + 128 <= BYTES; size += 64) {
        for (size_t i = 0; i < BYTES; i++)
            from[i] = (unsigned char)(i * 7 + size / 64);
        memset(to, 0xee, BYTES);
        hl_copy_past(to + 64, from + 64, size);
        hl_copy_past_end();
        CHECK(memcmp(to + 64, from + 64, size) == 0);
        CHECK(to[63] == 0xee && to[64 + size] == 0xee);
    }
    free(from);
    free(to);
    CHECK(!hl_copy_is_past(0) && !hl_copy_is_past(4096));
    CHECK(hl_copy_is_past(SIZE_MAX / 2));
}

/* Those of a run, of sets whose last word is not whole. */
static void parts_of_sets(void)
{
    enum { COUNT = 300 };
    struct hl_pages all, part;

    CHECK(hl_pages_init(&all, COUNT) == 0 && hl_pages_init(&part, COUNT) == 0);
    hl_pages_fill(&all); /* bits past the end, too */
    hl_pages_remove(&all, 70);
    for (size_t first = 0; first < COUNT; first += 64)
        for (size_t count = 1; count <= COUNT - first; count++) {
            struct hl_run run = {first, count};
            bool less = first <= 70 && first + count > 70;
            hl_pages_fill(&part);
            hl_pages_copy_in(&part, &all, run);
            CHECK(hl_pages_count(&part) == count - less);
            CHECK(hl_pages_count_in(&all, run) == count - less);
            CHECK(hl_pages_next(&part, 0) == first);
            CHECK(!hl_pages_has(&part, 70));
            check_marks(&part);
        }
    hl_pages_free(&all);
    hl_pages_free(&part);
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
    CHECK(hl_vma_query((void *)page, page, &vma) == -EFAULT);
}

/* What a kernel without PROCMAP_QUERY says of the same memory. */
static void both_ways(const void *addr, size_t size, unsigned kinds)
{
    struct hl_vma query, text;
    int err = hl_vma_query(addr, size, &query);

    hl_inject_plan(HL_INJECT_QUERY, 0, 1);
    CHECK(hl_vma_query(addr, size, &text) == err);
    CHECK(err == 0 && query.kinds == kinds && text.kinds == kinds);
    CHECK(query.prot == text.prot && query.anonymous == text.anonymous);
    CHECK(query.page_size == text.page_size);
}

static void kinds_are_told_apart(void)
{
    size_t page = hl_page_size(), size = 4 * page;
    const int rw = PROT_READ | PROT_WRITE;
    int memfd = memfd_create("kinds", MFD_CLOEXEC);
    FILE *file = tmpfile();

    CHECK(memfd >= 0 && ftruncate(memfd, (off_t)size) == 0);
    CHECK(file != NULL && ftruncate(fileno(file), (off_t)size) == 0);
    const struct {
        int flags, fd;
        unsigned kinds;
    } cases[] = {
        {MAP_PRIVATE | MAP_ANONYMOUS, -1, HL_KIND_PRIVATE},
        {MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, HL_KIND_PRIVATE},
        {MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, HL_KIND_PRIVATE},
        {MAP_SHARED | MAP_ANONYMOUS, -1, HL_KIND_SHARED},
        {MAP_SHARED, memfd, HL_KIND_SHARED},
        {MAP_PRIVATE, memfd, HL_KIND_FILE_COPY},
        {MAP_SHARED, fileno(file), HL_KIND_FILE},
        {MAP_PRIVATE, fileno(file), HL_KIND_FILE_COPY},
    };
    for (size_t i = 0; i < HL_ARRAY_SIZE(cases); i++) {
        void *at = mmap(NULL, size, rw, cases[i].flags, cases[i].fd, 0);
        CHECK(at != MAP_FAILED);
        both_ways(at, size, cases[i].kinds);
        munmap(at, size);
    }
    char *mixed = mmap(NULL, size, rw, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(mmap(mixed, page, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
               0) == mixed);
    both_ways(mixed, size, HL_KIND_PRIVATE | HL_KIND_SHARED);
    munmap(mixed, size);
    char *here = (char *)((uintptr_t)__builtin_frame_address(0) / page * page);
    both_ways(here, page, HL_KIND_STACK);
    close(memfd);
    fclose(file);
}

/* The kernel does; user-mode QEMU does not. */
static bool maps_name_the_heap(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    bool named = false;

    while (maps && fgets(line, sizeof line, maps))
        named = named || strstr(line, "[heap]") != NULL;
    if (maps)
        fclose(maps);
    return named;
}

/* Only with glibc's own malloc, which a sanitizer replaces. */
static void the_heap_is_known_by_the_block(void)
{
    size_t page = hl_page_size();
    char *first = malloc(8 * page), *second = malloc(8 * page);
    char *inside = first + page - (uintptr_t)first % page;
    char *both = second - (uintptr_t)second % page;
    struct hl_vma vma;

    CHECK(first && second);
    CHECK(hl_vma_query(inside, 6 * page, &vma) == 0);
    if ((char *)sbrk(0) < first || second < first || !maps_name_the_heap() ||
        second - first > (ptrdiff_t)(9 * page)) {
        printf("skipped: malloc does not take this from the break\n");
    } else {
        CHECK(vma.kinds == HL_KIND_PRIVATE);
        CHECK(hl_vma_query(both, page, &vma) == 0);
        CHECK(vma.kinds == HL_KIND_OWN_HEAP);
        CHECK(hl_vma_query(inside, 9 * page, &vma) == 0);
        CHECK(vma.kinds == HL_KIND_OWN_HEAP);
    }
    free(second);
    free(first);
}

int main(void)
{
    RUN(runs_are_what_bits_say);
    RUN(ranges_touch_only_themselves);
    RUN(sets_are_what_was_added);
    RUN(little_is_found_without_a_walk);
    RUN(added_while_others_are_removed);
    RUN(one_byte_makes_a_difference);
    RUN(past_the_caches);
    RUN(parts_of_sets);
    RUN(mappings);
    RUN(kinds_are_told_apart);
    RUN(the_heap_is_known_by_the_block);
    return 0;
}
