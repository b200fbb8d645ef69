/* What would not wait, as poll and epoll tell it. */
#ifndef HL_ABI_LINUX_READY_H
#define HL_ABI_LINUX_READY_H

#include "abi/linux/kinds.h"
#include "abi/linux/watches.h"

#define HL_POLL_PRI 2u
#define HL_POLL_NVAL 0x20u
#define HL_POLL_RDNORM 0x40u
#define HL_POLL_RDBAND 0x80u
#define HL_POLL_WRNORM 0x100u
#define HL_POLL_WRBAND 0x200u

/* hl_linux_ready, with what means the same. */
unsigned hl_linux_events(const struct hl_linux *linux_,
                         const struct hl_linux_open *open);
uint64_t hl_linux_changes(const struct hl_linux *linux_,
                          const struct hl_linux_open *open);

/* Of these events, those that a watch of it is to report. */
unsigned hl_linux_reports(const struct hl_linux *linux_,
                          const struct hl_linux_watch *watch,
                          const struct hl_linux_open *open);

/* To wait for these events of it is to wait for the host's request. */
bool hl_linux_would_listen(const struct hl_linux *linux_,
                           const struct hl_linux_open *open, unsigned wanted);

#endif
