/* Reservations of ours that Windows notes writes to, and whether it still
 * knows all of them: then what it has not noted was never written.
 *
 * Threads: any. */
#ifndef HL_OS_WINDOWS_WATCHED_H
#define HL_OS_WINDOWS_WATCHED_H

#include "base.h"

/* This was just reserved; without memory for a note, nothing is known of it.
 */
void hl_watched_add(void *base, size_t size);
/* It is about to be released. */
void hl_watched_remove(void *base);

/* Something in the reservation of `addr` is about to be forgotten. */
void hl_watched_forgets(const void *addr);

/* Has nothing been forgotten of the reservation that has [addr, +size)? */
bool hl_watched_knows_all(const void *addr, size_t size) HL_MUST_CHECK;

#endif
