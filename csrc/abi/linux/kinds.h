/* What can be behind a descriptor: a table, one file a kind or a few. */
#ifndef HL_ABI_LINUX_KINDS_H
#define HL_ABI_LINUX_KINDS_H

#include "abi/linux/process.h"

/* What can be waited for, as asm-generic/poll.h has it. */
#define HL_POLL_IN 1u
#define HL_POLL_OUT 4u
#define HL_POLL_ERR 8u
#define HL_POLL_HUP 16u
#define HL_POLL_RDHUP 0x2000u /* nothing comes any more */

struct hl_linux_piece { /* struct iovec */
    uint64_t addr, size;
};

struct hl_linux_kind_ops {
    /* Copy up to size bytes, which are not 0, to or from the guest's [addr,
     * +size); where there are places, from this one on.  How many, -errno, or
     * HL_LINUX_WAITS.  NULL: it cannot be done. */
    int64_t (*read)(struct hl_linux *linux_, struct hl_linux_open *open,
                    uint64_t at, uint64_t addr, uint64_t size);
    int64_t (*write)(struct hl_linux *linux_, struct hl_linux_open *open,
                     uint64_t at, uint64_t addr, uint64_t size);
    /* Instead of both: all pieces at once, which are not all empty. */
    int64_t (*transfer)(struct hl_linux *linux_, struct hl_linux_open *open,
                        const struct hl_linux_piece *pieces, size_t count,
                        bool writes);
    /* HL_POLL_*: what would not wait.  NULL: nothing ever waits. */
    unsigned (*ready)(const struct hl_linux *linux_,
                      const struct hl_linux_open *open);
    /* Another number each time that something happened to it.  NULL: nothing
     * is known but what it is ready for. */
    uint64_t (*changes)(const struct hl_linux *linux_,
                        const struct hl_linux_open *open);
    /* Its last descriptor was closed.  NULL: nothing is to be done. */
    void (*closed)(struct hl_linux *linux_, struct hl_linux_open *open);
    bool cannot_watch; /* epoll refuses it */
    bool has_places;   /* it can be read and written from any place */
    uint32_t mode;     /* its kind, as stat tells it; 0: a node's */
};

extern const struct hl_linux_kind_ops hl_linux_files, hl_linux_stdin,
    hl_linux_stdout, hl_linux_stderr, hl_linux_null, hl_linux_zeros,
    hl_linux_chance, hl_linux_talk, hl_linux_pipe_in, hl_linux_pipe_out,
    hl_linux_socket_end, hl_linux_counter, hl_linux_epoll_set;

/* Of one that is open. */
const struct hl_linux_kind_ops *hl_linux_kind(const struct hl_linux_open *o);

/* HL_POLL_*, of what is open. */
unsigned hl_linux_ready(const struct hl_linux *linux_,
                        const struct hl_linux_open *open);

#endif
