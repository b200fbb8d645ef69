/* What epoll sets watch.
 *
 *  E1. A watch is of a set, a descriptor and what that was open to; it goes
 *      with the last descriptor of either.
 *  E2. One that is edge-triggered reports what became ready since the last
 *      look at it; of what tells its changes, also whenever there was one. */
#ifndef HL_ABI_LINUX_WATCHES_H
#define HL_ABI_LINUX_WATCHES_H

#include "abi/linux/process.h"

#define HL_EPOLL_ONESHOT (1u << 30)
#define HL_EPOLL_EDGES (1u << 31)
#define HL_EPOLL_KEPT 0xf0000000u /* after it was shot: nothing else */

/* That of this set for this descriptor, or NULL. */
struct hl_linux_watch *hl_linux_find_watch(const struct hl_linux *linux_,
                                           const struct hl_linux_open *set,
                                           uint64_t fd);

/* A new one, told of.  NULL: there are too many. */
struct hl_linux_watch *hl_linux_add_watch(struct hl_linux *linux_,
                                          const struct hl_linux_open *set,
                                          uint64_t fd);

/* Before one is changed: W2. */
void hl_linux_change_watch(const struct hl_linux *linux_,
                           const struct hl_linux_watch *watch);

/* What a watch of a set is of; NULL: it is not of that set. */
const struct hl_linux_open *hl_linux_watched(const struct hl_linux *linux_,
                                             const struct hl_linux_watch *w,
                                             const struct hl_linux_open *set);

/* All of a set, or of what was watched, that is closed. */
void hl_linux_forget_watches(struct hl_linux *linux_,
                             const struct hl_linux_open *open);

#endif
