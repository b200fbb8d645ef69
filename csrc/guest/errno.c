/* errno: there is one thread, and so one of it.  Thread-local all the same:
 * libraries built for Linux's C library refer to it as such, by this name. */
#include <errno.h>

#undef errno
_Thread_local int errno;

int *__errno_location(void) { return &errno; }
