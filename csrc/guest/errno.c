/* errno: there is one thread, and so one of it. */
#include <errno.h>

int *__errno_location(void)
{
    static int number;
    return &number;
}
