/* Snapshots and the page store against plain copies, with and without memory
 * to allocate, and from several threads. */
#include <pthread.h>
#include <string.h>

#include "inject.h"
#include "mem/bitmap.h"
#include "os/native.h"
#include "stores.h"

#define ALIVE 12

static uint64_t seed = 7;

struct copy {
    struct hl_snapshot *snapshot;
    char *bytes;
};

static void scribble(char *memory, size_t pages)
{
    size_t first = next_random(&seed) % pages;
    size_t count = 1 + next_random(&seed) % (pages - first);
    size_t step = 1 + next_random(&seed) % 20;
    int byte = (int)(next_random(&seed) % 3);

    for (size_t p = first; p < first + count; p += step)
        memset(memory + p * PAGE + (byte ? p % PAGE : 0), byte,
               byte ? 1 : PAGE);
}

/* What memory differs in is what compare says; applying puts it right. */
static void check_apply(const struct copy *from, char *memory, size_t pages)
{
    struct hl_pages differs;
    struct hl_run all = {0, pages}, run;
    struct hl_applied done = {0, 0};
    size_t expected = 0;

    CHECK(hl_pages_init(&differs, pages) == 0);
    for (size_t p = 0; p < pages; p++)
        expected +=
            memcmp(memory + p * PAGE, from->bytes + p * PAGE, PAGE) != 0;
    CHECK(hl_compare(from->snapshot, memory, all, &differs) == expected);
    CHECK(hl_compare(from->snapshot, memory, all, NULL) == expected);
    CHECK(hl_pages_count(&differs) == expected);
    for (size_t at = 0; hl_pages_run(&differs, &at, &run);)
        hl_apply(from->snapshot, memory, run, false, &done);
    CHECK(done.copied + done.zeroed == expected);
    CHECK(memcmp(memory, from->bytes, pages * PAGE) == 0);
    run = (struct hl_run){pages / 3, pages - pages / 3};
    CHECK(hl_compare(from->snapshot, memory, run, NULL) == 0);
    hl_pages_free(&differs);
}

static void check_diff(const struct copy *a, const struct copy *b,
                       size_t pages)
{
    struct hl_pages found;
    CHECK(hl_pages_init(&found, pages) == 0);
    hl_snapshot_diff(a->snapshot, b->snapshot, &found);
    for (size_t p = 0; p < pages; p++)
        if (memcmp(a->bytes + p * PAGE, b->bytes + p * PAGE, PAGE) != 0)
            CHECK(hl_pages_has(&found, p));
    hl_snapshot_diff_exact(a->snapshot, b->snapshot, &found);
    for (size_t p = 0; p < pages; p++)
        CHECK(hl_pages_has(&found, p) ==
              (memcmp(a->bytes + p * PAGE, b->bytes + p * PAGE, PAGE) != 0));
    hl_pages_free(&found);
}

static void drop(struct copy *copy)
{
    hl_snapshot_unref(copy->snapshot);
    free(copy->bytes);
    *copy = (struct copy){0};
}

/* Random writes, takes from random bases, restores, drops in any order. */
static void model_of_size(size_t pages)
{
    struct hl_store *store = new_store();
    struct hl_store_usage usage;
    struct copy alive[ALIVE] = {0};
    char *memory = hl_aligned_new(PAGE, pages * PAGE);

    memset(memory, 0, pages * PAGE);
    for (int step = 0; step < 150; step++) {
        struct copy *one = &alive[next_random(&seed) % ALIVE];
        struct copy *two = &alive[next_random(&seed) % ALIVE];
        scribble(memory, pages);
        if (one->snapshot == NULL) {
            CHECK(take(store, two->snapshot, memory, pages, &one->snapshot) ==
                  0);
            one->bytes = malloc(pages * PAGE);
            memcpy(one->bytes, memory, pages * PAGE);
            continue;
        }
        check_apply(one, memory, pages);
        if (two->snapshot != NULL)
            check_diff(one, two, pages);
        size_t offset = next_random(&seed) % (pages * PAGE);
        size_t length = next_random(&seed) % (pages * PAGE - offset + 1);
        char *read = malloc(length ? length : 1);
        hl_snapshot_read(one->snapshot, offset, length, read);
        CHECK(memcmp(read, one->bytes + offset, length) == 0);
        free(read);
        if (next_random(&seed) % 3 == 0)
            drop(one);
    }
    for (size_t i = 0; i < ALIVE; i++)
        if (alive[i].snapshot)
            drop(&alive[i]);
    hl_store_usage(store, &usage);
    CHECK(usage.pages == 0 && usage.nodes == 0 && usage.bytes == 0);
    hl_store_unref(store);
    hl_aligned_free(memory);
    check_nothing_alive();
}

static void model(void)
{
    static const size_t sizes[] = {1, 2, 15, 16, 17, 255, 256, 257, 700};
    for (size_t i = 0; i < HL_ARRAY_SIZE(sizes); i++)
        model_of_size(sizes[i]);
}

/* A lone page in a large region: at most 1.1 pages. */
static void lone_page_is_cheap(void)
{
    size_t pages = (size_t)1 << 18;
    struct hl_store *store = new_store();
    struct hl_snapshot *base, *child;
    struct hl_edit edit = {.page = 123456};

    CHECK(hl_snapshot_new(store, pages, NULL, NULL, 0, &base) == 0);
    CHECK(hl_snapshot_nbytes(base) <= 64);
    CHECK(hl_store_alloc(store, 1, &edit.slot) == 1);
    memset(hl_store_page(store, edit.slot), 1, PAGE);
    CHECK(hl_snapshot_new(store, pages, base, &edit, 1, &child) == 0);
    CHECK(hl_snapshot_nbytes(child) <= PAGE + PAGE / 10);
    hl_snapshot_unref(base);
    hl_snapshot_unref(child);
    hl_store_unref(store);
    check_nothing_alive();
}

/* Consecutive pages get consecutive slots, reused memory or fresh. */
static void runs_stay_runs(void)
{
    struct hl_store *store = new_store();
    uint32_t a, b, c;

    CHECK(hl_store_alloc(store, 100, &a) == 100);
    CHECK(hl_store_alloc(store, 50, &b) == 50);
    CHECK(b == a + 100);
    hl_store_release(store, a, 100);
    CHECK(hl_store_alloc(store, 80, &c) == 80);
    CHECK(c == a);
    hl_store_release(store, c, 80);
    hl_store_release(store, b, 50);
    hl_store_unref(store);
    check_nothing_alive();
}

/* A snapshot whose pages follow each other says so; any other does not. */
static void row_of_pages(void)
{
    enum { PAGES = 256 }; /* the first slab's slots */
    struct hl_store *store = new_store();
    struct hl_snapshot *all, *same, *edited, *sparse;
    char *memory = hl_aligned_new(PAGE, PAGES * PAGE);
    char *bytes = hl_aligned_new(PAGE, PAGES * PAGE);

    for (size_t p = 0; p < PAGES; p++)
        memset(bytes + p * PAGE, (int)(p % 255) + 1, PAGE);
    CHECK(take(store, NULL, bytes, PAGES, &all) == 0);
    CHECK(take(store, all, bytes, PAGES, &same) == 0);
    const char *row = hl_snapshot_row(all);
    CHECK(row != NULL && memcmp(row, bytes, PAGES * PAGE) == 0);
    CHECK(hl_snapshot_row(same) == row);
    for (size_t p = 0; p < PAGES; p++) {
        memcpy(memory, bytes, PAGES * PAGE);
        memset(memory + p * PAGE, 0, (PAGES - p) / 2 * PAGE);
        check_apply(&(struct copy){same, bytes}, memory, PAGES);
    }

    bytes[PAGE] = 0;
    CHECK(take(store, all, bytes, PAGES, &edited) == 0);
    CHECK(hl_snapshot_row(edited) == NULL);
    memset(bytes, 0, PAGE);
    CHECK(take(store, NULL, bytes, PAGES, &sparse) == 0);
    CHECK(hl_snapshot_row(sparse) == NULL);
    memset(memory, 7, PAGES * PAGE);
    check_apply(&(struct copy){sparse, bytes}, memory, PAGES);

    struct hl_snapshot *made[] = {all, same, edited, sparse};
    for (size_t i = 0; i < HL_ARRAY_SIZE(made); i++)
        hl_snapshot_unref(made[i]);
    hl_store_unref(store);
    hl_aligned_free(bytes);
    hl_aligned_free(memory);
    check_nothing_alive();
}

#ifdef HL_FAULT_INJECTION
/* Every allocation of a take fails once; nothing changes when it does. */
static void no_memory(void)
{
    size_t pages = 300;
    struct hl_store *store = new_store();
    struct hl_store_usage before, after;
    struct hl_snapshot *base, *child = NULL;
    char *memory = hl_aligned_new(PAGE, pages * PAGE);

    memset(memory, 1, pages * PAGE);
    CHECK(take(store, NULL, memory, pages, &base) == 0);
    for (size_t p = 0; p < pages; p += 7)
        memory[p * PAGE] = 2;
    hl_store_usage(store, &before);
    for (int point = HL_INJECT_STORE_ALLOC; point <= HL_INJECT_NODE_ALLOC;
         point++) {
        int err = -ENOMEM;
        for (unsigned skip = 0; err == -ENOMEM; skip++) {
            CHECK(skip < 200);
            hl_inject_plan((enum hl_inject_point)point, skip, 1);
            err = take(store, base, memory, pages, &child);
            hl_inject_plan((enum hl_inject_point)point, 0, 0);
            CHECK(err == 0 || err == -ENOMEM);
            hl_store_usage(store, &after);
            CHECK(err == 0 || (after.pages == before.pages &&
                               after.nodes == before.nodes));
        }
        hl_snapshot_unref(child);
        hl_store_usage(store, &after);
        CHECK(after.pages == before.pages && after.nodes == before.nodes);
    }
    hl_snapshot_unref(base);
    hl_store_unref(store);
    hl_aligned_free(memory);
    check_nothing_alive();
}
#endif

/* Threads that take, read, compare and drop in one store. */
#define SHARED_PAGES ((size_t)200)

static struct hl_store *shared;
static struct hl_snapshot *common;

static void *churn(void *argument)
{
    uint64_t mine = (uintptr_t)argument * 77 + 1;
    char *memory = hl_aligned_new(PAGE, SHARED_PAGES * PAGE);
    struct hl_pages found;
    char page[64];

    CHECK(hl_pages_init(&found, SHARED_PAGES) == 0);
    for (int i = 0; i < 150; i++) {
        struct hl_snapshot *s;
        memset(memory, 9, SHARED_PAGES * PAGE);
        size_t p = next_random(&mine) % SHARED_PAGES;
        memory[p * PAGE] = 8;
        CHECK(take(shared, common, memory, SHARED_PAGES, &s) == 0);
        hl_snapshot_diff(common, s, &found);
        CHECK(hl_pages_has(&found, p));
        hl_snapshot_read(s, p * PAGE, sizeof page, page);
        CHECK(page[0] == 8 && page[1] == 9);
        CHECK(hl_snapshot_nbytes(s) > PAGE);
        hl_snapshot_unref(s);
    }
    hl_pages_free(&found);
    hl_aligned_free(memory);
    return NULL;
}

static void threads(void)
{
    pthread_t made[4];
    char *memory = hl_aligned_new(PAGE, SHARED_PAGES * PAGE);

    memset(memory, 9, SHARED_PAGES * PAGE);
    shared = new_store();
    CHECK(take(shared, NULL, memory, SHARED_PAGES, &common) == 0);
    for (uintptr_t i = 0; i < HL_ARRAY_SIZE(made); i++)
        CHECK(pthread_create(&made[i], NULL, churn, (void *)i) == 0);
    for (size_t i = 0; i < HL_ARRAY_SIZE(made); i++)
        CHECK(pthread_join(made[i], NULL) == 0);
    hl_snapshot_unref(common);
    hl_store_unref(shared);
    hl_aligned_free(memory);
    check_nothing_alive();
}

int main(void)
{
    RUN(model);
    RUN(lone_page_is_cheap);
    RUN(runs_stay_runs);
    RUN(row_of_pages);
#ifdef HL_FAULT_INJECTION
    RUN(no_memory);
#endif
    RUN(threads);
    return 0;
}
