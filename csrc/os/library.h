/* Shared libraries that are loaded at run time, and stay loaded: their code
 * may have left threads or exit handlers. */
#ifndef HL_OS_LIBRARY_H
#define HL_OS_LIBRARY_H

#include "base.h"
#include "why.h"

/* NULL: `why` has the system's words. */
void *hl_library_load(const char *path, char *why) HL_MUST_CHECK;
/* A function of it; NULL: it has none of that name. */
void *hl_library_find(void *library, const char *name) HL_MUST_CHECK;

/* From now on, memory that this library's code reserved for some access is
 * there when its code, or code that it called, first touches it: what systems
 * other than Windows do by themselves.  Faults of others are left to others.
 * For one library of the process, the last.  -ENOMEM: it is to be said again.
 */
int hl_library_commits(void *library) HL_MUST_CHECK;

#endif
