#include "os/threads.h"

#include <windows.h>

#include <process.h>
#include <stdlib.h>

_Static_assert(sizeof(hl_mutex) == sizeof(SRWLOCK), "os/native.h");

void hl_mutex_init(hl_mutex *mutex) { InitializeSRWLock((SRWLOCK *)mutex); }

void hl_mutex_lock(hl_mutex *mutex)
{
    AcquireSRWLockExclusive((SRWLOCK *)mutex);
}

bool hl_mutex_try(hl_mutex *mutex)
{
    return TryAcquireSRWLockExclusive((SRWLOCK *)mutex);
}

void hl_mutex_unlock(hl_mutex *mutex)
{
    ReleaseSRWLockExclusive((SRWLOCK *)mutex);
}

void hl_yield(void) { (void)SwitchToThread(); }

/* There is no fork. */
void hl_at_fork(void (*before)(void), void (*in_parent)(void),
                void (*in_child)(void))
{
    (void)before;
    (void)in_parent;
    (void)in_child;
}

struct start {
    void *(*main)(void *);
    void *context;
};

static unsigned __stdcall run(void *argument)
{
    struct start start = *(struct start *)argument;

    free(argument);
    (void)start.main(start.context);
    return 0;
}

int hl_thread_start(hl_thread *thread, void *(*main)(void *), void *context)
{
    struct start *start = malloc(sizeof *start);
    if (start == NULL)
        return -ENOMEM;
    *start = (struct start){main, context};
    uintptr_t handle = _beginthreadex(NULL, 64 << 10, run, start, 0, NULL);
    if (handle == 0) {
        int err = -errno;
        free(start);
        return err;
    }
    *thread = (hl_thread)handle;
    return 0;
}

void hl_thread_join(hl_thread thread)
{
    (void)WaitForSingleObject(thread, INFINITE);
    (void)CloseHandle(thread);
}

/* Nothing here asks whether there are other threads than ours. */
void hl_thread_begins(void) {}
void hl_thread_ends(void) {}
void hl_threads_are_lost(void) {}
bool hl_is_single_threaded(void) { return false; }
