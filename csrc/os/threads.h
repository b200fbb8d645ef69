/* The library's own threads.  They run only the library's code and write only
 * to its own memory, so track/softdirty.c, which must know that no other
 * thread can write, does not count them. */
#ifndef HL_OS_THREADS_H
#define HL_OS_THREADS_H

#include "base.h"
#include "os/native.h"

/* Run `main` in a thread of its own, with every signal blocked and a small
 * stack.  -EAGAIN and the like. */
int hl_thread_start(hl_thread *thread, void *(*main)(void *),
                    void *context) HL_MUST_CHECK;
/* Wait for its end. */
void hl_thread_join(hl_thread thread);

/* The first and the last thing that such a thread does. */
void hl_thread_begins(void);
void hl_thread_ends(void);
/* In a child, which has none of them. */
void hl_threads_are_lost(void);

/* Is the caller the only thread of this process that is not the library's?
 * False also where it cannot be told: without /proc, or while one of ours
 * begins or ends. */
bool hl_is_single_threaded(void);

#endif
