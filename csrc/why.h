/* Why something cannot be used: a sentence for people beside -errno.
 *
 * The caller passes a buffer of HL_WHY_SIZE bytes; a longer sentence is cut.
 * Nothing here allocates, locks or fails. */
#ifndef HL_WHY_H
#define HL_WHY_H

#include "base.h"

#define HL_WHY_SIZE 160

/* Format `why`, return err. */
int hl_why(char *why, int err, const char *format, ...) HL_FORMATS(3, 4);

/* "what: the error's text", and if the error is caused by a limit (on
 * descriptors, the system's files, tasks or mappings), its name and how to see
 * it.  err is -errno, and is returned.  For calls that create something:
 * elsewhere EAGAIN does not mean a limit. */
int hl_why_errno(char *why, int err, const char *what);

/* strerror, which for a limit of descriptors says which limit it is. */
const char *hl_strerror(int err);

#endif
