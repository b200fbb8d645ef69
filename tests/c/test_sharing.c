/* What snapshots share and what they own: sizes, differences, zero pages,
 * index nodes, and threads that hand them on. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "inject.h"
#include "snapshot/nodes.h"
#include "stores.h"

#define ALIVE 50

static uint64_t seed = 11;

static void check_reserve(struct hl_store *store)
{
    struct hl_store_usage usage = usage_of(store);
    size_t most = usage.pages / 4 < 256 ? 256 : usage.pages / 4;
    CHECK(usage.reserved <= most * PAGE);
}

static struct hl_snapshot *must_take(struct hl_store *store,
                                     const struct hl_snapshot *base,
                                     const char *memory, size_t pages)
{
    struct hl_snapshot *s;
    CHECK(take(store, base, memory, pages, &s) == 0);
    return s;
}

/* nbytes is what dropping frees, for any snapshot of any tree. */
static void nbytes_is_what_goes(void)
{
    size_t pages = 600;
    struct hl_store *store = new_store();
    struct hl_snapshot *alive[ALIVE] = {NULL};
    char *memory = calloc(pages, PAGE);
    struct hl_snapshot *empty = must_take(store, NULL, memory, pages);
    size_t own = hl_snapshot_nbytes(empty);

    CHECK(own <= 64 && usage_of(store).bytes == 0);
    for (int step = 0; step < 1500; step++) {
        struct hl_snapshot **one = &alive[next_random(&seed) % ALIVE];
        if (*one != NULL) {
            size_t before = usage_of(store).bytes;
            size_t goes = hl_snapshot_nbytes(*one) - own;
            hl_snapshot_unref(*one);
            *one = NULL;
            CHECK(usage_of(store).bytes == before - goes);
            check_reserve(store);
            continue;
        }
        for (size_t n = next_random(&seed) % 5; n > 0; n--)
            memset(memory + next_random(&seed) % pages * PAGE,
                   (int)(next_random(&seed) % 3), PAGE);
        *one =
            must_take(store, alive[next_random(&seed) % ALIVE], memory, pages);
    }
    for (size_t i = 0; i < ALIVE; i++)
        if (alive[i])
            hl_snapshot_unref(alive[i]);
    hl_snapshot_unref(empty);
    CHECK(usage_of(store).pages == 0 && usage_of(store).nodes == 0);
    hl_store_unref(store);
    free(memory);
    check_nothing_alive();
}

/* Zero pages take neither pages nor nodes, and are not written on restore:
 * memory that may only be read survives it. */
static void zero_is_free(void)
{
    size_t pages = 40;
    struct hl_store *store = new_store();
    char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    memset(memory, 1, pages * PAGE);
    struct hl_snapshot *full = must_take(store, NULL, memory, pages);
    struct hl_store_usage before = usage_of(store);
    memset(memory, 0, pages * PAGE);
    struct hl_snapshot *zero = must_take(store, full, memory, pages);
    CHECK(usage_of(store).bytes == before.bytes);
    CHECK(mprotect(memory, pages * PAGE, PROT_READ) == 0);
    struct hl_applied done = {0, 0};
    hl_apply(zero, memory, (struct hl_run){0, pages}, false, &done);
    CHECK(done.copied == 0 && done.zeroed == pages);
    hl_snapshot_unref(zero);
    hl_snapshot_unref(full);
    munmap(memory, pages * PAGE);
    hl_store_unref(store);
    check_nothing_alive();
}

/* A take of neighbours stores neighbours. */
static void take_stores_runs(void)
{
    size_t pages = 200;
    struct hl_store *store = new_store();
    char *memory = calloc(pages, PAGE);
    uint32_t slots[200];

    memset(memory, 1, pages * PAGE);
    struct hl_snapshot *s = must_take(store, NULL, memory, pages);
    hl_snapshot_slots(s, 0, pages, slots);
    for (size_t i = 1; i < pages; i++)
        CHECK(slots[i] == slots[0] + i);
    hl_snapshot_unref(s);
    hl_store_unref(store);
    free(memory);
    check_nothing_alive();
}

/* Of two stores, what is zero in both is equal and all else may differ. */
static void diff_across_stores(void)
{
    size_t pages = 100;
    struct hl_store *stores[2] = {new_store(), new_store()};
    char *memory = calloc(pages, PAGE);
    uint64_t bits[2] = {0}, marks[1] = {0}, tops[1] = {0};
    struct hl_pages found = {pages, bits, marks, tops};

    memory[3 * PAGE] = memory[4 * PAGE] = 1;
    struct hl_snapshot *a = must_take(stores[0], NULL, memory, pages);
    memory[4 * PAGE] = 0;
    memory[5 * PAGE] = 2;
    struct hl_snapshot *b = must_take(stores[1], NULL, memory, pages);
    hl_snapshot_diff(a, b, &found);
    CHECK(bits[0] == 0x38 && bits[1] == 0);
    hl_snapshot_diff_exact(a, b, &found);
    CHECK(bits[0] == 0x30 && bits[1] == 0);
    hl_snapshot_unref(a);
    hl_snapshot_unref(b);
    hl_store_unref(stores[0]);
    hl_store_unref(stores[1]);
    free(memory);
    check_nothing_alive();
}

/* The same page stored twice is a difference until its bytes are compared, a
 * page of zeros stored as bytes included. */
static void diff_exact_looks(void)
{
    struct hl_store *store = new_store();
    struct hl_snapshot *a, *b;
    struct hl_edit edit = {.page = 7};
    uint64_t bits = 0, mark = 0, top = 0;
    struct hl_pages found = {16, &bits, &mark, &top};

    CHECK(hl_store_alloc(store, 1, &edit.slot) == 1);
    memset(hl_store_page(store, edit.slot), 0, PAGE);
    CHECK(hl_snapshot_new(store, 16, NULL, NULL, 0, &a) == 0);
    CHECK(hl_snapshot_new(store, 16, NULL, &edit, 1, &b) == 0);
    hl_snapshot_diff(a, b, &found);
    CHECK(bits == 1 << 7);
    hl_snapshot_diff_exact(a, b, &found);
    CHECK(bits == 0);
    hl_snapshot_unref(a);
    hl_snapshot_unref(b);
    hl_store_unref(store);
    check_nothing_alive();
}

/* A loop of takes and drops uses the same nodes again, and none are kept once
 * nothing is left. */
static void nodes_are_reused(void)
{
    size_t pages = 5000;
    struct hl_store *store = new_store();
    char *memory = calloc(pages, PAGE);
    const struct hl_nodes *nodes = hl_store_nodes(store);

    for (size_t p = 0; p < pages; p += 16)
        memory[p * PAGE] = 1;
    struct hl_snapshot *base = must_take(store, NULL, memory, pages);
    size_t end = nodes->end;
    memory[77 * PAGE] = 2;
    for (int i = 0; i < 100; i++)
        hl_snapshot_unref(must_take(store, base, memory, pages));
    CHECK(nodes->end <= end + 8);
    hl_snapshot_unref(base);
    CHECK(nodes->live == 0 && nodes->chunk_count <= 1);
    hl_store_unref(store);
    free(memory);
    check_nothing_alive();
}

#ifdef HL_FAULT_INJECTION
/* The last page of a run is stored after the loop over it: its failure counts
 * as well. */
static void no_memory_at_the_end(void)
{
    struct hl_store *store = new_store();
    char *memory = calloc(4, PAGE);
    struct hl_snapshot *s;

    memory[3 * PAGE] = 1;
    hl_inject_plan(HL_INJECT_STORE_ALLOC, 0, 1);
    CHECK(take(store, NULL, memory, 4, &s) == -ENOMEM);
    CHECK(usage_of(store).pages == 0);
    hl_store_unref(store);
    free(memory);
    check_nothing_alive();
}
#endif

/* Threads that pass snapshots on: each takes from what it finds, reads it, and
 * drops what another one made. */
#define SHARED ((size_t)100)

static struct hl_store *shared;
static _Atomic(struct hl_snapshot *) boxes[8];

static void *pass_on(void *argument)
{
    uint64_t mine = (uintptr_t)argument * 77 + 1;
    char *memory = calloc(SHARED, PAGE), *again = calloc(SHARED, PAGE);
    struct hl_run all = {0, SHARED};

    for (int i = 0; i < 400; i++) {
        struct hl_snapshot *found =
            atomic_exchange(&boxes[next_random(&mine) % 8], NULL);
        struct hl_applied done = {0, 0};
        if (found != NULL) {
            hl_apply(found, memory, all, false, &done);
            hl_snapshot_read(found, 0, SHARED * PAGE, again);
            CHECK(memcmp(memory, again, SHARED * PAGE) == 0);
        }
        for (size_t n = next_random(&mine) % 20; n > 0; n--)
            memset(memory + next_random(&mine) % SHARED * PAGE,
                   (int)(next_random(&mine) % 5), PAGE);
        struct hl_snapshot *made = must_take(shared, found, memory, SHARED);
        CHECK(hl_compare(made, memory, all, NULL) == 0);
        made = atomic_exchange(&boxes[next_random(&mine) % 8], made);
        if (made != NULL)
            hl_snapshot_unref(made);
        if (found != NULL)
            hl_snapshot_unref(found);
    }
    free(memory);
    free(again);
    return NULL;
}

static void threads_pass_on(void)
{
    pthread_t made[4];

    shared = new_store();
    for (uintptr_t i = 0; i < HL_ARRAY_SIZE(made); i++)
        CHECK(pthread_create(&made[i], NULL, pass_on, (void *)i) == 0);
    for (size_t i = 0; i < HL_ARRAY_SIZE(made); i++)
        CHECK(pthread_join(made[i], NULL) == 0);
    for (size_t i = 0; i < HL_ARRAY_SIZE(boxes); i++)
        if (boxes[i] != NULL)
            hl_snapshot_unref(boxes[i]);
    CHECK(usage_of(shared).pages == 0 && usage_of(shared).nodes == 0);
    hl_store_unref(shared);
    check_nothing_alive();
}

/* Little is dropped at once, much is left to the caller, and so is the last
 * snapshot of a store and one whose store is in use. */
static void quick_ones_are_quick(void)
{
    const size_t count = 4000;
    struct hl_store *store = new_store();
    char *memory = malloc(count * PAGE);
    struct hl_snapshot *all, *few, *again;

    memset(memory, 1, count * PAGE);
    CHECK(take(store, NULL, memory, count, &all) == 0);
    memset(memory, 2, 5 * PAGE);
    CHECK(take(store, all, memory, count, &few) == 0);
    again = hl_snapshot_ref(all);
    size_t pages = usage_of(store).pages;

    CHECK(hl_snapshot_unref_quick(again)); /* not the last reference */
    CHECK(usage_of(store).pages == pages);
    hl_store_lock(store);
    CHECK(!hl_snapshot_unref_quick(few)); /* or it waits for itself */
    hl_store_unlock(store);
    CHECK(hl_snapshot_unref_quick(few));
    CHECK(usage_of(store).pages == pages - 5);
    CHECK(!hl_snapshot_unref_quick(all));
    CHECK(usage_of(store).pages == pages - 5);
    hl_snapshot_unref(all);
    CHECK(usage_of(store).pages == 0);

    CHECK(take(store, NULL, memory, 3, &few) == 0);
    hl_store_unref(store);
    CHECK(!hl_snapshot_unref_quick(few)); /* the store goes with it */
    hl_snapshot_unref(few);
    free(memory);
    check_nothing_alive();
}

int main(void)
{
    RUN(nbytes_is_what_goes);
    RUN(zero_is_free);
    RUN(take_stores_runs);
    RUN(diff_across_stores);
    RUN(diff_exact_looks);
    RUN(nodes_are_reused);
    RUN(quick_ones_are_quick);
#ifdef HL_FAULT_INJECTION
    RUN(no_memory_at_the_end);
#endif
    RUN(threads_pass_on);
    return 0;
}
