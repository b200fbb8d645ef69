/* What the system tells of pages, beyond what trackers ask: one file for each
 * system.  Where it cannot tell, the answer is the one that is always right.
 *
 * Threads: any. */
#ifndef HL_TRACK_LOOK_H
#define HL_TRACK_LOOK_H

#include "base.h"
#include "mem/pages.h"

/* Called with each stretch found, ascending. */
typedef void hl_look_found(void *context, uintptr_t start, uintptr_t end);

/* Pages of [addr, +size) that may hold anything but what they held at first:
 * those in memory or in swap.  -errno: that cannot be told; some may have been
 * passed on.  Never where it is known of no memory (Windows). */
int hl_look_touched(const void *addr, size_t size, hl_look_found *found,
                    void *context) HL_MUST_CHECK;
/* The same, added to a set of pages from addr on; by an older and slower way
 * where there is no other. */
int hl_look_find_touched(const void *addr,
                         struct hl_pages *touched) HL_MUST_CHECK;

/* Is a page of [memory, +size) readable by its mapping, and yet a guard? */
bool hl_look_has_guards(const void *memory, size_t size);

/* May a thread of this process have to provide its pages? */
bool hl_look_is_foreign(void *memory, size_t size);

/* Are all of these pages in memory, and this process's alone? */
bool hl_look_is_own(const char *at, size_t pages);
/* The same, and they are not a huge page.  Of tracked memory. */
bool hl_look_is_split(const char *at, size_t pages);

#endif
