/* Whether somebody else can write: the library's own thread cannot. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "os/threads.h"
#include "os/wait.h"
#include "vm/watch.h"

#define MS UINT64_C(1000000)

static atomic_bool woken;

static void wake(void *unused)
{
    (void)unused;
    atomic_store(&woken, true);
}

/* The kernel counts a thread until some time after it was joined. */
static bool becomes(bool single)
{
    for (int i = 0; i < 5000; i++) {
        struct timespec ms = {0, 1000000};
        if (hl_is_single_threaded() == single)
            return true;
        nanosleep(&ms, NULL);
    }
    return false;
}

static void *sleeper(void *stop)
{
    while (!atomic_load((atomic_bool *)stop))
        usleep(1000);
    return NULL;
}

static void library_threads_do_not_count(void)
{
    struct hl_watch watch = {hl_now() + 10 * MS, wake, NULL, NULL, NULL};
    atomic_bool stop = false;
    pthread_t thread;

    CHECK(hl_watch_start(&watch) == 0);
    while (!atomic_load(&woken))
        usleep(1000);
    hl_watch_stop(&watch);
    CHECK(becomes(true));
    CHECK(pthread_create(&thread, NULL, sleeper, &stop) == 0);
    CHECK(!hl_is_single_threaded());
    atomic_store(&stop, true);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(becomes(true));
}

/* An idle one ended before the fork; one that watches is lost in the child. */
static void children_have_none(void)
{
    struct hl_watch watch = {hl_now() + 3600000 * MS, wake, NULL, NULL, NULL};

    for (int watching = 0; watching < 2; watching++) {
        int status;
        if (watching) {
            CHECK(hl_watch_start(&watch) == 0);
            CHECK(becomes(true));
        }
        pid_t pid = fork();
        if (pid == 0)
            _exit(becomes(true) ? 0 : 1);
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
        CHECK(becomes(true));
    }
    hl_watch_stop(&watch);
}

int main(void)
{
#ifdef __SANITIZE_THREAD__
    puts("not tested: ThreadSanitizer has a thread of its own");
    return 0;
#endif
    if (!hl_is_single_threaded()) {
        puts("skipped: it began with more than one thread (user-mode QEMU)");
        return 0;
    }
    RUN(library_threads_do_not_count);
    RUN(children_have_none);
    return 0;
}
