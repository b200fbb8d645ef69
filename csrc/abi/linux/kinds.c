#include "abi/linux/kinds.h"

static const struct hl_linux_kind_ops *const kinds[] = {
    [HL_LINUX_STDIN] = &hl_linux_stdin,
    [HL_LINUX_STDOUT] = &hl_linux_stdout,
    [HL_LINUX_STDERR] = &hl_linux_stderr,
    [HL_LINUX_FILE] = &hl_linux_files,
    [HL_LINUX_NULL] = &hl_linux_null,
    [HL_LINUX_ZERO] = &hl_linux_zeros,
    [HL_LINUX_CHANCE] = &hl_linux_chance,
    [HL_LINUX_TALK] = &hl_linux_talk,
    [HL_LINUX_PIPE_IN] = &hl_linux_pipe_in,
    [HL_LINUX_PIPE_OUT] = &hl_linux_pipe_out,
    [HL_LINUX_SOCKET] = &hl_linux_socket_end,
    [HL_LINUX_COUNTER] = &hl_linux_counter,
    [HL_LINUX_EPOLL] = &hl_linux_epoll_set,
};

const struct hl_linux_kind_ops *hl_linux_kind(const struct hl_linux_open *o)
{
    return kinds[o->kind];
}
