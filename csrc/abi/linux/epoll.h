/* Sets of descriptors that are waited for together. */
#ifndef HL_ABI_LINUX_EPOLL_H
#define HL_ABI_LINUX_EPOLL_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_epoll_create, hl_linux_epoll_create1,
    hl_linux_epoll_ctl, hl_linux_epoll_wait, hl_linux_epoll_pwait,
    hl_linux_epoll_pwait2;

#endif
