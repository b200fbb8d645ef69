/* Trackers while threads write: real parallel writes, without an interpreter
 * in between, so that this is also what ThreadSanitizer looks at. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "manager.h"
#include "mem/bitmap.h"
#include "mem/map.h"
#include "track/fault.h"

#define THREADS 3
#define PAGES ((size_t)48)
#define MINE (PAGES / THREADS)
#define ROUNDS 400

/* Writer i stores rising numbers into its pages; done[page] follows each store
 * that has ended. */
static _Atomic uint64_t *words[PAGES];
static _Atomic uint64_t done[PAGES];
static atomic_bool stop;

static void *writer(void *argument)
{
    size_t first = (uintptr_t)argument * MINE;
    uint64_t number = 0, mine = first + 1;

    while (!atomic_load(&stop)) {
        size_t page = first + next_random(&mine) % MINE;
        atomic_store(words[page], ++number);
        atomic_store(&done[page], number);
    }
    return NULL;
}

static struct hl_manager *new_manager(const struct hl_tracker_ops *ops,
                                      struct hl_map *map, bool adaptive)
{
    struct hl_manager *m;
    char why[HL_WHY_SIZE] = "";

    CHECK(hl_map_create(map, PAGES * hl_page_size(), HL_HUGE_NEVER) == 0);
    int err = hl_manager_new(map->addr, PAGES, ops, adaptive, &m, why);
    if (err < 0)
        fprintf(stderr, "%s: %s\n", ops->name, why);
    CHECK(err == 0);
    for (size_t page = 0; page < PAGES; page++) {
        words[page] = (_Atomic uint64_t *)((char *)map->addr +
                                           page * hl_page_size() + 128);
        atomic_store(&done[page], 0);
    }
    return m;
}

static void start(pthread_t threads[THREADS])
{
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, writer, (void *)i) == 0);
}

static void finish(pthread_t threads[THREADS])
{
    atomic_store(&stop, true);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

static uint64_t number_in(const struct hl_snapshot *s, size_t page)
{
    uint64_t number;
    hl_snapshot_read(s, page * hl_page_size() + 128, sizeof number, &number);
    return number;
}

/* Quiet now: memory differs from current only where that is reported. */
static void check_superset(struct hl_manager *m)
{
    uint64_t dirty[1] = {0}, missed[1] = {0};

    CHECK(hl_manager_dirty(m, dirty) == 0);
    for (size_t page = 0; page < PAGES; page++)
        if (!hl_bitmap_test(dirty, page))
            CHECK(number_in(hl_manager_current(m), page) ==
                  atomic_load(words[page]));
    CHECK(hl_manager_verify(m, hl_manager_current(m), missed) == 0);
}

static void takes(const struct hl_tracker_ops *ops, bool adaptive)
{
    pthread_t threads[THREADS];
    struct hl_map map;
    struct hl_manager *m = new_manager(ops, &map, adaptive);

    start(threads);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t before[PAGES];
        struct hl_snapshot *s;
        for (size_t page = 0; page < PAGES; page++)
            before[page] = atomic_load(&done[page]);
        CHECK(hl_manager_take(m, &s) == 0);
        for (size_t page = 0; page < PAGES; page++)
            CHECK(number_in(s, page) >= before[page]);
        hl_snapshot_unref(s);
    }
    finish(threads);
    check_superset(m);
    hl_manager_free(m);
    hl_map_destroy(&map);
}

static void restores(const struct hl_tracker_ops *ops, bool adaptive)
{
    pthread_t threads[THREADS];
    struct hl_map map;
    struct hl_manager *m = new_manager(ops, &map, adaptive);
    struct hl_snapshot *s[3];
    struct hl_applied applied;

    for (int i = 0; i < 3; i++) {
        memset(map.addr, i, map.size / 2);
        CHECK(hl_manager_take(m, &s[i]) == 0);
    }
    start(threads);
    for (int i = 0; i < ROUNDS; i++)
        CHECK(hl_manager_restore(m, s[i % 7 % 3], &applied) == 0);
    finish(threads);
    check_superset(m);
    for (int i = 0; i < 3; i++) {
        CHECK(hl_manager_restore(m, s[i], &applied) == 0);
        CHECK(hl_compare(s[i], map.addr, (struct hl_run){0, PAGES}, NULL) ==
              0);
        hl_snapshot_unref(s[i]);
    }
    hl_manager_free(m);
    hl_map_destroy(&map);
}

/* Trackers come and go under the writers' feet. */
static void comes_and_goes(const struct hl_tracker_ops *ops)
{
    pthread_t threads[THREADS];
    struct hl_map map;
    struct hl_manager *m = new_manager(ops, &map, false);
    struct hl_snapshot *s;
    char why[HL_WHY_SIZE];

    start(threads);
    for (int i = 0; i < ROUNDS / 4; i++) {
        CHECK(hl_manager_take(m, &s) == 0);
        hl_snapshot_unref(s);
        hl_manager_free(m);
        CHECK(hl_manager_new(map.addr, PAGES, ops, false, &m, why) == 0);
    }
    finish(threads);
    hl_manager_free(m);
    hl_map_destroy(&map);
}

/* Pages that were never touched, and are while the first take arms them. */
static void first_touches(const struct hl_tracker_ops *ops)
{
    for (int i = 0; i < ROUNDS / 8; i++) {
        pthread_t threads[THREADS];
        struct hl_map map;
        struct hl_manager *m = new_manager(ops, &map, false);
        struct hl_snapshot *s;
        start(threads);
        CHECK(hl_manager_take(m, &s) == 0);
        finish(threads);
        check_superset(m);
        hl_snapshot_unref(s);
        hl_manager_free(m);
        hl_map_destroy(&map);
    }
}

int main(void)
{
    for (size_t i = 0; i < hl_tracker_count; i++) {
        const struct hl_tracker_ops *ops = hl_trackers[i];
        char why[HL_WHY_SIZE] = "";
        if (ops->probe(why) < 0) {
            printf("skipped %s: %s\n", ops->name, why);
            continue;
        }
        for (int adaptive = 0; adaptive < 2; adaptive++) {
            takes(ops, adaptive);
            restores(ops, adaptive);
        }
        comes_and_goes(ops);
        first_touches(ops);
        printf("ok %s\n", ops->name);
        fflush(stdout);
    }
    CHECK(hl_manager_count() == 0 && hl_map_count() == 0);
    return 0;
}
