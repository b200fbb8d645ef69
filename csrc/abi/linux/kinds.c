#include "abi/linux/kinds.h"

static const struct hl_linux_kind_ops *const kinds[] = {
    [HL_LINUX_STDIN] = &hl_linux_stdin,   [HL_LINUX_STDOUT] = &hl_linux_stdout,
    [HL_LINUX_STDERR] = &hl_linux_stderr, [HL_LINUX_FILE] = &hl_linux_files,
    [HL_LINUX_NULL] = &hl_linux_null,     [HL_LINUX_ZERO] = &hl_linux_zeros,
    [HL_LINUX_CHANCE] = &hl_linux_chance, [HL_LINUX_TALK] = &hl_linux_talk,
};

const struct hl_linux_kind_ops *hl_linux_kind(const struct hl_linux_open *o)
{
    return kinds[o->kind];
}

unsigned hl_linux_ready(const struct hl_linux *l,
                        const struct hl_linux_open *o)
{
    const struct hl_linux_kind_ops *kind = hl_linux_kind(o);

    return kind->ready ? kind->ready(l, o) : HL_POLL_IN | HL_POLL_OUT;
}
