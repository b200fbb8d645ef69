#include "os/threads.h"

#include <stdatomic.h>
#include <sys/stat.h>

/* A thread of ours exists for longer than it is counted, so that errors are on
 * the side of too many.  There are two counts: if one thread began while
 * another ended, their difference would be unchanged, and the answer would be
 * true of no moment. */
static _Atomic size_t began, ended;

void hl_thread_begins(void) { atomic_fetch_add(&began, 1); }
void hl_thread_ends(void) { atomic_fetch_add(&ended, 1); }
void hl_threads_are_lost(void) { atomic_store(&ended, atomic_load(&began)); }

/* /proc/self/task has a link for itself, one for its parent, and one for each
 * thread. */
bool hl_is_single_threaded(void)
{
    struct stat st;
    size_t came = atomic_load(&began), went = atomic_load(&ended);

    return stat("/proc/self/task", &st) == 0 &&
           st.st_nlink == 3 + (came - went) && atomic_load(&began) == came &&
           atomic_load(&ended) == went;
}
