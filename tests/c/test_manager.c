/* The manager by itself: who may use it when, and what others are told. */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "manager/manager.h"
#include "os/map.h"
#include "os/others.h"
#include "stores.h"
#include "track/range.h"

#define PAGES 64

/* A tracker like `full` whose collect stops in the middle where it is told
 * to, until it is let go on. */
static bool stops;
static sem_t stopped, go_on;
static unsigned closed;

static int collect(struct hl_tracker *t, struct hl_pages *dirty)
{
    (void)t;
    hl_pages_fill(dirty);
    if (stops) {
        sem_post(&stopped);
        sem_wait(&go_on);
    }
    return 0;
}

static void ignore(struct hl_tracker *t, const struct hl_pages *pages)
{
    (void)t;
    (void)pages;
}

static int arm_first(struct hl_tracker *t, struct hl_pages *touched)
{
    (void)t;
    hl_pages_fill(touched);
    return 0;
}

static void disarm(struct hl_tracker *t, struct hl_run run)
{
    (void)t;
    (void)run;
}

static void close_it(struct hl_tracker *t, bool forked)
{
    (void)forked;
    closed++;
    free(t);
}

static int open_it(void *addr, size_t page_count, struct hl_tracker **out,
                   char *why);

static const struct hl_tracker_ops stopping = {
    .name = "stopping",
    .kernel_writes = true,
    .arms = true,
    .open = open_it,
    .collect = collect,
    .arm = ignore,
    .leave_unarmed = ignore,
    .arm_first = arm_first,
    .disarm = disarm,
    .close = close_it,
};

static int open_it(void *addr, size_t page_count, struct hl_tracker **out,
                   char *why)
{
    struct hl_tracker *t = malloc(sizeof *t);
    CHECK(t != NULL);
    (void)why;
    *t = (struct hl_tracker){.ops = &stopping,
                             .addr = addr,
                             .page_count = page_count,
                             .page_size = PAGE};
    *out = t;
    return 0;
}

static struct hl_map map;

static struct hl_manager *new_manager(void)
{
    char why[HL_WHY_SIZE];
    struct hl_manager *m;
    CHECK(hl_map_create(&map, PAGES * PAGE, HL_HUGE_NEVER) == 0);
    CHECK(hl_manager_new(map.addr, PAGES, &stopping, false, &m, why) == 0);
    stops = false;
    closed = 0;
    sem_init(&stopped, 0, 0);
    sem_init(&go_on, 0, 0);
    return m;
}

static void check_nothing_left(void)
{
    hl_map_destroy(&map);
    CHECK(hl_range_count() == 0);
    CHECK(hl_manager_count() == 0);
    check_nothing_alive();
}

static void *restores(void *manager)
{
    struct hl_applied done;
    struct hl_snapshot *current = hl_manager_current(manager);
    CHECK(hl_manager_restore(manager, current, &done) == 0);
    return NULL;
}

static void *closes(void *manager)
{
    CHECK(hl_manager_close(manager, NULL));
    return NULL;
}

/* A manager in the middle of a restore by another thread. */
static struct hl_manager *busy_manager(pthread_t *thread)
{
    struct hl_manager *m = new_manager();
    struct hl_snapshot *s;
    CHECK(hl_manager_take(m, &s) == 0);
    hl_snapshot_unref(s);
    stops = true;
    CHECK(pthread_create(thread, NULL, restores, m) == 0);
    sem_wait(&stopped);
    return m;
}

static void let_go_on(pthread_t thread)
{
    stops = false;
    sem_post(&go_on);
    pthread_join(thread, NULL);
}

static void bulk_writes_wait_for_no_call(void)
{
    pthread_t thread;
    struct hl_manager *m = busy_manager(&thread);
    struct hl_manager_stats stats;

    hl_manager_expect(m, (struct hl_run){0, 9}); /* or this hangs */
    let_go_on(thread);
    CHECK(hl_manager_stats(m, &stats) == 0 && stats.counts.expected == 0);
    hl_manager_expect(m, (struct hl_run){0, 9});
    hl_manager_expect(m, (struct hl_run){PAGES - 1, 2}); /* outside */
    hl_manager_expect(m, (struct hl_run){SIZE_MAX, 2});
    CHECK(hl_manager_stats(m, &stats) == 0 && stats.counts.expected == 9);
    hl_manager_free(m);
    check_nothing_left();
}

static void close_waits_for_a_call(void)
{
    pthread_t thread, closing;
    struct hl_manager *m = busy_manager(&thread);

    CHECK(pthread_create(&closing, NULL, closes, m) == 0);
    for (int i = 0; i < 1000; i++) {
        sched_yield();
        CHECK(!hl_manager_ended(m) && closed == 0);
    }
    let_go_on(thread);
    pthread_join(closing, NULL);
    CHECK(hl_manager_ended(m) && closed == 1);
    CHECK(!hl_manager_close(m, NULL));
    hl_manager_unref(m);
    check_nothing_left();
}

static void closed_ones_say_so(void)
{
    struct hl_manager *m = new_manager();
    uint64_t bits[PAGES / 64] = {0};
    struct hl_snapshot *s, *again = NULL;
    struct hl_manager_stats stats;
    struct hl_applied done;

    CHECK(hl_manager_take(m, &s) == 0);
    CHECK(hl_manager_ref(m) == m);
    hl_manager_free(m);
    CHECK(hl_range_count() == 0 && hl_manager_count() == 0);
    CHECK(hl_manager_take(m, &again) == -EBADF && again == NULL);
    CHECK(hl_manager_restore(m, s, &done) == -EBADF);
    CHECK(hl_manager_dirty(m, bits) == -EBADF);
    CHECK(hl_manager_changed(m, s, bits) == -EBADF);
    CHECK(hl_manager_differing(m, s, bits) == -EBADF);
    CHECK(hl_manager_verify(m, s, bits) == -EBADF);
    CHECK(hl_manager_stats(m, &stats) == -EBADF);
    hl_manager_expect(m, (struct hl_run){0, 9});
    CHECK(strcmp(hl_manager_tracker(m), "stopping") == 0);
    CHECK(hl_manager_page_count(m) == PAGES);
    hl_manager_unref(m);
    hl_snapshot_unref(s);
    check_nothing_left();
}

static struct hl_manager *leaving;

static void write_in_bulk(void)
{
    hl_manager_expect(leaving, (struct hl_run){0, 9});
}

/* Others run in the middle of it, with the manager as it was before or closed.
 */
static void a_tracker_is_given_back_and_the_manager_closed_at_once(void)
{
    struct hl_snapshot *s;
    struct hl_manager_stats stats;

    leaving = new_manager();
    CHECK(hl_manager_take(leaving, &s) == 0);
    hl_others_wait(write_in_bulk);
    hl_spend(HL_PATIENCE_NS - 10);
    struct hl_tracker *tracker = hl_manager_give_back(leaving);
    CHECK(hl_others_ran());
    CHECK(tracker != NULL && closed == 0);
    CHECK(hl_manager_ended(leaving));
    CHECK(hl_manager_stats(leaving, &stats) == -EBADF);
    CHECK(hl_manager_give_back(leaving) == NULL);
    tracker->ops->close(tracker, false);
    hl_manager_unref(leaving);
    hl_snapshot_unref(s);
    check_nothing_left();
}

/* Names stand for a caller's objects. */
static void mirrors_change_with_it(void)
{
    struct hl_manager *m = new_manager();
    struct hl_snapshot *a, *b = NULL;
    struct hl_done done;
    void *current = "none", *top = "empty";
    struct hl_mirror mirror = {.current = &current, .new_current = "a"};

    CHECK(hl_manager_restore_as(m, NULL, NULL, &done) == -ENODATA);
    CHECK(hl_manager_take_as(m, &a, &mirror) == 0);
    CHECK(strcmp(current, "a") == 0);
    CHECK(strcmp(mirror.new_current, "none") == 0);

    /* Somebody else was faster: nothing happens, to nobody. */
    mirror = (struct hl_mirror){&current, "b", &top, "stale", "b on top"};
    CHECK(hl_manager_take_as(m, &b, &mirror) == -EAGAIN && b == NULL);
    CHECK(hl_manager_restore_as(m, a, &mirror, &done) == -EAGAIN);
    CHECK(strcmp(current, "a") == 0 && strcmp(top, "empty") == 0);
    CHECK(strcmp(mirror.new_current, "b") == 0);
    CHECK(hl_manager_current(m) == a);

    mirror.old_top = top;
    CHECK(hl_manager_take_as(m, &b, &mirror) == 0);
    CHECK(strcmp(current, "b") == 0 && strcmp(top, "b on top") == 0);
    CHECK(strcmp(mirror.new_current, "a") == 0);
    CHECK(strcmp(mirror.new_top, "empty") == 0);
    CHECK(hl_manager_current(m) == b);

    mirror = (struct hl_mirror){&current, "nothing", &top, NULL, "gone"};
    CHECK(hl_manager_close(m, &mirror));
    CHECK(strcmp(current, "nothing") == 0 && strcmp(top, "gone") == 0);
    CHECK(strcmp(mirror.new_current, "b") == 0);
    CHECK(!hl_manager_close(m, &mirror));
    CHECK(strcmp(mirror.new_current, "b") == 0);
    hl_manager_unref(m);
    hl_snapshot_unref(a);
    hl_snapshot_unref(b);
    check_nothing_left();
}

static void wrong_sizes(void)
{
    struct hl_manager *m = new_manager();
    struct hl_store *store = new_store();
    struct hl_snapshot *other;
    struct hl_applied done;
    char why[HL_WHY_SIZE];
    uint64_t bits[1] = {0};

    CHECK(hl_snapshot_new(store, PAGES - 1, NULL, NULL, 0, &other) == 0);
    CHECK(hl_manager_restore(m, other, &done) == -EINVAL);
    CHECK(hl_manager_changed(m, other, bits) == -EINVAL);
    CHECK(hl_manager_verify(m, other, bits) == -EINVAL);
    hl_snapshot_unref(other);
    hl_store_unref(store);
    hl_manager_free(m);
    CHECK(hl_manager_new(map.addr, HL_MAX_PAGES + 1, &stopping, false, &m,
                         why) == -E2BIG);
    CHECK(hl_manager_new(map.addr, PAGES + 1, &stopping, false, &m, why) ==
          -EFAULT); /* a guard page follows */
    check_nothing_left();
}

static int status_of(pid_t pid)
{
    int status = -1;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    return status;
}

static void *lets_go_later(void *nothing)
{
    usleep(20000);
    stops = false;
    sem_post(&go_on);
    return nothing;
}

/* A fork waits for the call: the child finds it done. */
static __attribute__((unused)) void fork_waits_for_a_call(void)
{
    pthread_t thread, helper;
    struct hl_manager *m = busy_manager(&thread);
    struct hl_manager_stats stats;

    CHECK(pthread_create(&helper, NULL, lets_go_later, NULL) == 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(20);
        CHECK(hl_manager_stats(m, &stats) == 0);
        CHECK(stats.counts.restores == 1);
        restores(m);
        hl_manager_free(m);
        CHECK(hl_range_count() == 0);
        _exit(0);
    }
    CHECK(status_of(pid) == 0);
    pthread_join(thread, NULL);
    pthread_join(helper, NULL);
    hl_manager_free(m);
    check_nothing_left();
}

static sem_t begun, settle;

static void *begins(void *result)
{
    char why[HL_WHY_SIZE];
    struct hl_manager *m;
    CHECK(hl_manager_begin(map.addr, PAGES, false, &stopping, false, &m,
                           why) == 0);
    sem_post(&begun);
    sem_wait(&settle);
    hl_manager_settle(m);
    *(struct hl_manager **)result = m;
    return NULL;
}

/* The child has no thread that knows the manager: its memory is free. */
static void fork_while_one_is_made(void)
{
    pthread_t thread;
    struct hl_manager *m, *again;
    char why[HL_WHY_SIZE];

    CHECK(hl_map_create(&map, PAGES * PAGE, HL_HUGE_NEVER) == 0);
    sem_init(&begun, 0, 0);
    sem_init(&settle, 0, 0);
    CHECK(pthread_create(&thread, NULL, begins, &m) == 0);
    sem_wait(&begun);
    CHECK(hl_manager_new(map.addr, PAGES, &stopping, false, &again, why) ==
          -EEXIST);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(20);
        CHECK(hl_range_count() == 0 && hl_manager_count() == 0);
        CHECK(hl_manager_new(map.addr, PAGES, &stopping, false, &again, why) ==
              0);
        hl_manager_free(again);
        _exit(0);
    }
    CHECK(status_of(pid) == 0);
    sem_post(&settle);
    pthread_join(thread, NULL);
    /* One that is settled goes on in a child. */
    pid = fork();
    if (pid == 0) {
        alarm(20);
        struct hl_snapshot *s;
        CHECK(hl_manager_take(m, &s) == 0);
        _exit(0);
    }
    CHECK(status_of(pid) == 0);
    hl_manager_free(m);
    check_nothing_left();
}

int main(void)
{
    RUN(bulk_writes_wait_for_no_call);
    RUN(close_waits_for_a_call);
    RUN(closed_ones_say_so);
    RUN(a_tracker_is_given_back_and_the_manager_closed_at_once);
    RUN(mirrors_change_with_it);
    RUN(wrong_sizes);
#ifndef __SANITIZE_THREAD__ /* does not know what a fork leaves behind */
    RUN(fork_waits_for_a_call);
#endif
    RUN(fork_while_one_is_made);
    return 0;
}
