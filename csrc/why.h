/* Why something cannot be used: a sentence for people beside -errno.
 *
 * Whoever may get one passes room of HL_WHY_SIZE bytes; a sentence that is
 * longer is cut.  Nothing here allocates, locks or fails. */
#ifndef HL_WHY_H
#define HL_WHY_H

#include "base.h"

#define HL_WHY_SIZE 160

/* Format `why`, return err. */
int hl_why(char *why, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "what: the error's text", and where that error comes of a limit, which one
 * it is and how to see it: of descriptors, of the system's files, of tasks, of
 * mappings.  err is -errno, and is returned.  For calls that make something:
 * elsewhere EAGAIN is no limit. */
int hl_why_errno(char *why, int err, const char *what);

/* strerror, which for a limit of descriptors says which limit it is. */
const char *hl_strerror(int err);

#endif
