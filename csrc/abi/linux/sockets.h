/* Pairs of sockets within the program.  No socket leads anywhere else. */
#ifndef HL_ABI_LINUX_SOCKETS_H
#define HL_ABI_LINUX_SOCKETS_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_socket, hl_linux_socketpair, hl_linux_sendto,
    hl_linux_recvfrom, hl_linux_sendmsg, hl_linux_recvmsg, hl_linux_shutdown,
    hl_linux_getsockname, hl_linux_getsockopt, hl_linux_setsockopt,
    hl_linux_connect, hl_linux_not_of_a_pair;

#endif
