#include "why.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int hl_why(char *why, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, HL_WHY_SIZE, format, args);
    va_end(args);
    return err;
}

/* The errno says that a limit was reached, but not which: each of these has
 * one or two that can prevent a new machine, thread or descriptor. */
#ifdef _WIN32
static const char *limit_of(int err)
{
    return err == -ENOMEM ? " (or the system's commit limit: memory and page "
                            "files; or a limit of the job)"
                          : "";
}

const char *hl_strerror(int err) { return strerror(err); }
#else
static const char *limit_of(int err)
{
    switch (-err) {
    case EMFILE:
        return " (RLIMIT_NOFILE of this process: ulimit -n)";
    case ENFILE:
        return " (fs.file-max of the system)";
    case EAGAIN:
        return " (a limit of tasks: RLIMIT_NPROC, ulimit -u, or pids.max of "
               "the control group)";
    case ENOMEM:
        return " (or vm.max_map_count, or a limit of the control group)";
    default:
        return "";
    }
}

const char *hl_strerror(int err)
{
    if (err == EMFILE)
        return "too many open files in this process (RLIMIT_NOFILE)";
    if (err == ENFILE)
        return "too many open files on this system (fs.file-max)";
    return strerror(err);
}
#endif

int hl_why_errno(char *why, int err, const char *what)
{
    return hl_why(why, err, "%s: %s%s", what, strerror(-err), limit_of(err));
}
