/* What every C file may rely on.  Includes nothing but libc.
 *
 * Errors: a function that can fail returns 0 (or a count) on success and
 * -errno otherwise.  Its contract states the effects of a failure; if it does
 * not mention any, nothing changed.
 *
 * Threads: unless a header says otherwise, an object may be used by one
 * thread at a time, and different objects by different threads freely. */
#ifndef HL_BASE_H
#define HL_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HL_MUST_CHECK __attribute__((warn_unused_result))
/* As printf does, from these arguments; by the C standard's rules, which are
 * not those of an older Windows. */
#ifdef __MINGW32__
#define HL_FORMATS(format_, first)                                            \
    __attribute__((format(gnu_printf, format_, first)))
#else
#define HL_FORMATS(format_, first)                                            \
    __attribute__((format(printf, format_, first)))
#endif
#define HL_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* For a slot of each thread (__thread) that signal handlers read: it is there
 * before its first use, which then allocates nothing.  glibc allocates other
 * slots on first use; elsewhere (musl) they come with the thread, and a
 * library that is loaded later must not ask for this. */
#ifdef __GLIBC__
#define HL_THERE_AT_ONCE __attribute__((tls_model("initial-exec")))
#else
#define HL_THERE_AT_ONCE
#endif

/* Page numbers are kept in 32 bits by snapshots: 16 TiB of 4 KiB pages. */
#define HL_MAX_PAGES ((size_t)UINT32_MAX)

_Static_assert(sizeof(void *) == 8, "hyperlight needs a 64-bit machine");

#endif
