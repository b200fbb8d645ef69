/* What each system has of its own: a mutex, a thread, aligned blocks, and what
 * to call when a process forks.  Inline, so that a lock costs what the
 * system's costs. */
#ifndef HL_OS_NATIVE_H
#define HL_OS_NATIVE_H

#include "base.h"

#ifdef _WIN32

#include <malloc.h>

/* SRWLOCK, and a HANDLE, without windows.h and its names in every file. */
typedef struct {
    void *word;
} hl_mutex;
#define HL_MUTEX_INIT {NULL}
typedef void *hl_thread;

void hl_mutex_init(hl_mutex *mutex);
void hl_mutex_lock(hl_mutex *mutex);
bool hl_mutex_try(hl_mutex *mutex) HL_MUST_CHECK;
void hl_mutex_unlock(hl_mutex *mutex);
static inline void hl_mutex_destroy(hl_mutex *mutex) { (void)mutex; }

static inline void *hl_aligned_new(size_t unit, size_t size)
{
    return _aligned_malloc(size, unit);
}
static inline void hl_aligned_free(void *block) { _aligned_free(block); }

#else

#include <pthread.h>
#include <stdlib.h>

typedef pthread_mutex_t hl_mutex;
#define HL_MUTEX_INIT PTHREAD_MUTEX_INITIALIZER
typedef pthread_t hl_thread;

static inline void hl_mutex_init(hl_mutex *mutex)
{
    pthread_mutex_init(mutex, NULL);
}
static inline void hl_mutex_lock(hl_mutex *mutex)
{
    pthread_mutex_lock(mutex);
}
HL_MUST_CHECK static inline bool hl_mutex_try(hl_mutex *mutex)
{
    return pthread_mutex_trylock(mutex) == 0;
}
static inline void hl_mutex_unlock(hl_mutex *mutex)
{
    pthread_mutex_unlock(mutex);
}
static inline void hl_mutex_destroy(hl_mutex *mutex)
{
    pthread_mutex_destroy(mutex);
}

static inline void *hl_aligned_new(size_t unit, size_t size)
{
    return aligned_alloc(unit, size);
}
static inline void hl_aligned_free(void *block) { free(block); }

#endif

/* Call these around each fork: before it, and after it in the parent and in
 * the child.  For constructors.  Does nothing where there is no fork. */
void hl_at_fork(void (*before)(void), void (*in_parent)(void),
                void (*in_child)(void));

/* Let another thread run. */
void hl_yield(void);

#endif
