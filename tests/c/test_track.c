/* Trackers while threads write: real parallel writes, without an interpreter
 * in between, so that this is also what ThreadSanitizer looks at. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#ifndef _WIN32
#include <sys/mman.h>
#else
#include <windows.h>
#endif

#include "check.h"
#include "inject.h"
#include "manager/manager.h"
#include "mem/bitmap.h"
#include "os/map.h"
#include "track/fault.h"
#include "track/trap.h"

#define THREADS 3
#define PAGES ((size_t)48)
#define ROUNDS 400

/* Every writer stores rising numbers into words of its own on all pages, so
 * that two of them meet on a page; done follows each store that has ended. */
static _Atomic uint64_t *words[THREADS][PAGES];
static _Atomic uint64_t done[THREADS][PAGES];
static atomic_bool stop;

static void *writer(void *argument)
{
    size_t me = (uintptr_t)argument;
    uint64_t number = 0, mine = me + 1;

    while (!atomic_load(&stop)) {
        size_t page = next_random(&mine) % PAGES;
        atomic_store(words[me][page], ++number);
        atomic_store(&done[me][page], number);
    }
    return NULL;
}

/* The memory of the next manager: a kind whose dropped pages leave no mark. */
static bool of_shared_memory;

static void make_shared(struct hl_map *map)
{
#ifndef _WIN32
    CHECK(mmap(map->addr, map->size, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == map->addr);
#else
    (void)map; /* nothing can be put there instead */
#endif
}

static struct hl_manager *new_manager(const struct hl_tracker_ops *ops,
                                      struct hl_map *map, bool adaptive)
{
    struct hl_manager *m;
    char why[HL_WHY_SIZE] = "";

    CHECK(hl_map_create(map, PAGES * hl_page_size(), HL_HUGE_NEVER) == 0);
    if (of_shared_memory)
        make_shared(map);
    int err = hl_manager_new(map->addr, PAGES, ops, adaptive, &m, why);
    if (err < 0)
        fprintf(stderr, "%s: %s\n", ops->name, why);
    CHECK(err == 0);
    for (size_t i = 0; i < THREADS * PAGES; i++) {
        size_t me = i / PAGES, page = i % PAGES;
        words[me][page] =
            (_Atomic uint64_t *)((char *)map->addr + page * hl_page_size() +
                                 128 * (me + 1));
        atomic_store(&done[me][page], 0);
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

static uint64_t number_in(const struct hl_snapshot *s, size_t me, size_t page)
{
    uint64_t number;
    hl_snapshot_read(s, page * hl_page_size() + 128 * (me + 1), sizeof number,
                     &number);
    return number;
}

/* Quiet now: memory differs from current only where that is reported. */
static void check_superset(struct hl_manager *m)
{
    uint64_t dirty[1] = {0}, missed[1] = {0};

    CHECK(hl_manager_dirty(m, dirty) == 0);
    for (size_t i = 0; i < THREADS * PAGES; i++)
        if (!hl_bitmap_test(dirty, i % PAGES))
            CHECK(number_in(hl_manager_current(m), i / PAGES, i % PAGES) ==
                  atomic_load(words[i / PAGES][i % PAGES]));
    CHECK(hl_manager_verify(m, hl_manager_current(m), missed) == 0);
}

static void takes(const struct hl_tracker_ops *ops, bool adaptive)
{
    pthread_t threads[THREADS];
    struct hl_map map;
    struct hl_manager *m = new_manager(ops, &map, adaptive);

    start(threads);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t before[THREADS * PAGES];
        struct hl_snapshot *s;
        for (size_t k = 0; k < THREADS * PAGES; k++)
            before[k] = atomic_load(&done[k / PAGES][k % PAGES]);
        CHECK(hl_manager_take(m, &s) == 0);
        for (size_t k = 0; k < THREADS * PAGES; k++)
            CHECK(number_in(s, k / PAGES, k % PAGES) >= before[k]);
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

#ifndef _WIN32
/* An owner that drops pages while others write and all is put back. */
static void *dropper(void *argument)
{
    const struct hl_map *map = argument;
    uint64_t mine = 4711;

    for (bool more = true; more;) {
        more = !atomic_load(&stop); /* once more after the last restore */
        char *page =
            (char *)map->addr + next_random(&mine) % PAGES * hl_page_size();
        CHECK(madvise(page, hl_page_size(), MADV_REMOVE) == 0);
        CHECK(*(volatile char *)page >= 0); /* and there again, as zero */
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    }
    return NULL;
}

static void restores_what_is_dropped(const struct hl_tracker_ops *ops,
                                     bool written)
{
    pthread_t threads[THREADS], owner;
    struct hl_map map;
    of_shared_memory = true;
    struct hl_manager *m = new_manager(ops, &map, false);
    of_shared_memory = false;
    struct hl_snapshot *s[2];
    struct hl_applied applied;

    memset(map.addr, 7, map.size);
    for (int i = 0; i < 2; i++) {
        memset(map.addr, i + 1, map.size / 2);
        CHECK(hl_manager_take(m, &s[i]) == 0);
    }
    atomic_store(&stop, false);
    if (written)
        start(threads);
    CHECK(pthread_create(&owner, NULL, dropper, &map) == 0);
    for (int i = 0; i < ROUNDS; i++)
        CHECK(hl_manager_restore(m, s[i % 3 % 2], &applied) == 0);
    if (written)
        finish(threads);
    atomic_store(&stop, true);
    CHECK(pthread_join(owner, NULL) == 0);
    check_superset(m);
    for (int i = 0; i < 2; i++) {
        CHECK(hl_manager_restore(m, s[i], &applied) == 0);
        CHECK(hl_compare(s[i], map.addr, (struct hl_run){0, PAGES}, NULL) ==
              0);
        hl_snapshot_unref(s[i]);
    }
    hl_manager_free(m);
    hl_map_destroy(&map);
}

#endif

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

/* The same where there are no page tables yet: the kernel looks at a whole GiB
 * at once, and arms it page by page while a thread comes to meet it. */
#define GIB ((size_t)1 << 30)
#define STEP ((size_t)1 << 18)
#ifndef _WIN32
#define LONGEST_DELAY 10000000
#else
#define LONGEST_DELAY 200000 /* trackers that read all take seconds each */
#endif
static char *whole_gib;

static void *touch_from_the_end(void *argument)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)(intptr_t)argument}, NULL);
    for (size_t at = GIB; at > 0; at -= STEP)
        __atomic_store_n(&whole_gib[at - STEP], 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void first_touches_far_apart(const struct hl_tracker_ops *ops,
                                    intptr_t delay)
{
    size_t page = hl_page_size(), pages = 2 * GIB / page, lost = 0;
    uint64_t *dirty = calloc(hl_bitmap_words(pages), 8);
    struct hl_manager *m;
    struct hl_snapshot *s;
    struct hl_map map;
    pthread_t thread;
    char why[HL_WHY_SIZE], byte;

    CHECK(hl_map_create(&map, 2 * GIB, HL_HUGE_NEVER) == 0);
    CHECK(hl_manager_new(map.addr, pages, ops, false, &m, why) == 0);
    size_t up = GIB - (uintptr_t)map.addr % GIB;
    whole_gib = (char *)map.addr + up;
    CHECK(pthread_create(&thread, NULL, touch_from_the_end, (void *)delay) ==
          0);
    CHECK(hl_manager_take(m, &s) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(hl_manager_dirty(m, dirty) == 0);
    for (size_t at = up; at < up + GIB; at += STEP) {
        hl_snapshot_read(s, at, 1, &byte);
        lost += byte != 1 && !hl_bitmap_test(dirty, at / page);
    }
    CHECK(lost == 0);
    free(dirty);
    hl_snapshot_unref(s);
    hl_manager_free(m);
    hl_map_destroy(&map);
}

/* Regions go from the handler's table without any memory to be had, while
 * others are written to; to add one then is refused, and changes nothing. */
static void removed_without_memory(const struct hl_tracker_ops *ops)
{
    pthread_t threads[THREADS];
    struct hl_map map, others[40];
    struct hl_manager *m = new_manager(ops, &map, false), *more[40], *none;
    struct hl_snapshot *s;
    char why[HL_WHY_SIZE];

    for (int i = 0; i < 40; i++) {
        CHECK(hl_map_create(&others[i], hl_page_size(), HL_HUGE_NEVER) == 0);
        CHECK(hl_manager_new(others[i].addr, 1, ops, false, &more[i], why) ==
              0);
    }
    start(threads);
    hl_inject_plan(HL_INJECT_TABLE, 0, UINT32_MAX);
    for (int i = 0; i < 40; i++) {
        CHECK(hl_manager_take(m, &s) == 0);
        hl_snapshot_unref(s);
        hl_manager_free(more[i]);
    }
    for (int i = 0; i < 40; i++) {
        int err = hl_manager_new(others[i].addr, 1, ops, false, &none, why);
        CHECK(err == 0 || err == -ENOMEM);
        if (err == 0)
            hl_manager_free(none);
    }
    hl_inject_plan(HL_INJECT_TABLE, 0, 0);
    finish(threads);
    check_superset(m);
    hl_manager_free(m);
    hl_map_destroy(&map);
    for (int i = 0; i < 40; i++)
        hl_map_destroy(&others[i]);
}

/* A region whose pages "open" and cannot be written for all that: the fault is
 * not answered for ever, but passed on. */
static int says_it_opened(struct hl_trap *trap, struct hl_run run, bool closed)
{
    (void)trap;
    (void)run;
    (void)closed;
    return 0;
}

static char *read_only;

#ifndef _WIN32
#define TRAP hl_track_sigsegv

static void make_writable(int signal)
{
    CHECK(signal == SIGSEGV);
    CHECK(mprotect(read_only, hl_page_size(), PROT_READ | PROT_WRITE) == 0);
}

static void install_who_mends(void)
{
    struct sigaction mends = {.sa_handler = make_writable};

    CHECK(mprotect(read_only, hl_page_size(), PROT_READ) == 0);
    CHECK(sigaction(SIGSEGV, &mends, NULL) == 0);
}
#else
#define TRAP hl_track_vectored

static LONG CALLBACK make_writable(EXCEPTION_POINTERS *fault)
{
    DWORD before;

    CHECK(fault->ExceptionRecord->ExceptionCode == EXCEPTION_ACCESS_VIOLATION);
    CHECK(VirtualProtect(read_only, hl_page_size(), PAGE_READWRITE, &before));
    return EXCEPTION_CONTINUE_EXECUTION;
}

static void install_who_mends(void)
{
    DWORD before;

    CHECK(VirtualProtect(read_only, hl_page_size(), PAGE_READONLY, &before));
    CHECK(AddVectoredExceptionHandler(TRUE, make_writable) != NULL);
}
#endif

static void opened_in_vain(void)
{
    struct hl_trap trap = {.protect = says_it_opened};
    char why[HL_WHY_SIZE];
    struct hl_map map;

    CHECK(hl_map_create(&map, hl_page_size(), HL_HUGE_NEVER) == 0);
    read_only = map.addr;
    install_who_mends();
    CHECK(hl_trap_open(&trap, &TRAP, read_only, 1, SIGSEGV, why) == 0);
    /* In front of the one that mends. */
    hl_fault_reclaim();
    uint64_t bits = 1, mark = 1, top = 1;
    struct hl_pages page = {1, &bits, &mark, &top};
    hl_trap_arm(&trap.tracker, &page);
    *(volatile char *)read_only = 1;
    CHECK(*(volatile char *)read_only == 1);
    hl_trap_close(&trap);
    hl_map_destroy(&map);
}

/* A fault leaves errno alone, in the thread that it interrupts. */
static void keeps_errno(const struct hl_tracker_ops *ops)
{
    struct hl_map map;
    struct hl_manager *m = new_manager(ops, &map, false);
    struct hl_snapshot *s;

    CHECK(hl_manager_take(m, &s) == 0);
    for (size_t page = 0; page < PAGES; page++) {
        errno = 4711;
        atomic_store(words[0][page], 1);
        CHECK(errno == 4711);
    }
    hl_snapshot_unref(s);
    hl_manager_free(m);
    hl_map_destroy(&map);
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
#ifndef _WIN32
        of_shared_memory = true;
        takes(ops, false);
        restores(ops, true);
        of_shared_memory = false;
        for (int written = 0; ops->sees_drops && written < 2; written++)
            restores_what_is_dropped(ops, written);
#endif
        comes_and_goes(ops);
        first_touches(ops);
        for (intptr_t ns = 100000; ops->arms && ns < LONGEST_DELAY; ns *= 2)
            first_touches_far_apart(ops, ns);
        keeps_errno(ops);
        removed_without_memory(ops);
        /* The same with handlers that take their time at the worst moments. */
        hl_inject_plan(HL_INJECT_LINGER, 0, UINT32_MAX);
        for (int adaptive = 0; adaptive < 2; adaptive++) {
            takes(ops, adaptive);
            restores(ops, adaptive);
            comes_and_goes(ops);
            removed_without_memory(ops);
        }
        hl_inject_plan(HL_INJECT_LINGER, 0, 0);
        printf("ok %s\n", ops->name);
        fflush(stdout);
    }
    opened_in_vain();
    CHECK(hl_manager_count() == 0 && hl_map_count() == 0);
    return 0;
}
