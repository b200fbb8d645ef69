/* A Linux program as a guest: what a kernel would know of it, and serve.
 *
 *  L1. All that the guest can observe later is in struct hl_linux_process,
 *      which lies in tracked memory that the guest cannot reach: so a restore
 *      puts it back.  What is beside it is for the host: output that was
 *      written, counts, the bytes of standard input.
 *  L2. Memory of the arena that the program has not mapped is zero, as far as
 *      calls are concerned: what is unmapped is zeroed, so what is mapped is.
 *      All of the arena is mapped in the page tables, and stays so: tables
 *      that change are stale on some processors until memory is unplugged.
 *      Until the bake (bake.h) anything may be done with it; from then on it
 *      is never writable and executable at once.  Other rights are kept, but
 *      not enforced, and what was unmapped can still be touched.
 *  L3. Every number of the guest's is checked before it is used.  Memory of
 *      the guest is read once.
 *  L4. Nothing of the host's is told: not its clock's start, its names,
 *      descriptors, paths or numbers of processes.
 *
 * Numbers and layouts are those of Linux on x86-64 (include/uapi in the
 * kernel's sources), whatever system this runs on.
 *
 * Threads: one; the guest stands still meanwhile. */
#ifndef HL_ABI_LINUX_PROCESS_H
#define HL_ABI_LINUX_PROCESS_H

#include "abi/abi.h"
#include "abi/linux/tree.h"
#include "vm/window.h"

#define HL_LINUX_MAPPINGS 2048
#define HL_LINUX_FILES 256
#define HL_LINUX_SIGNALS 64
#define HL_LINUX_WATCHES 512 /* of all epoll sets together */
#define HL_LINUX_CALLS 512   /* numbers of system calls that are counted */
#define HL_LINUX_PATCHES 4096
#define HL_LINUX_PAGE ((uint64_t)4096)
#define HL_LINUX_MOST_RANDOM ((uint64_t)256 << 10) /* bytes in a call */

/* Memory that the program mapped, in whole pages. */
struct hl_linux_mapping {
    uint64_t start, end;
    uint32_t prot;
    uint8_t shared;
    uint8_t from_file;
    uint16_t baked; /* its rights are in the page tables, and stay */
};

struct hl_linux_action { /* struct sigaction of the kernel's */
    uint64_t handler, flags, restorer, mask;
};

struct hl_linux_stack { /* stack_t */
    uint64_t sp;
    int32_t flags;
    int32_t reserved;
    uint64_t size;
};

enum hl_linux_kind {
    HL_LINUX_CLOSED,
    HL_LINUX_STDIN,
    HL_LINUX_STDOUT,
    HL_LINUX_STDERR,
    HL_LINUX_FILE, /* or a folder: a node of the tree */
    HL_LINUX_NULL,
    HL_LINUX_ZERO,
    HL_LINUX_CHANCE,
    HL_LINUX_TALK,    /* with the host */
    HL_LINUX_PIPE_IN, /* node: the queue that is read */
    HL_LINUX_PIPE_OUT,
    HL_LINUX_SOCKET,  /* node: as before; offset: the queue that is written */
    HL_LINUX_COUNTER, /* of eventfd; offset: what it is at */
    HL_LINUX_EPOLL,   /* offset: the watch to begin with */
};

/* Flags of open, as asm-generic/fcntl.h has them. */
#define HL_O_ACCMODE 3u
#define HL_O_WRONLY 1u
#define HL_O_CREAT 0100u
#define HL_O_EXCL 0200u
#define HL_O_TRUNC 01000u
#define HL_O_APPEND 02000u
#define HL_O_NONBLOCK 04000u
#define HL_O_DIRECT 040000u
#define HL_O_DIRECTORY 0200000u
#define HL_O_NOFOLLOW 0400000u
#define HL_O_CLOEXEC 02000000u

/* An open file description, which descriptors share. */
struct hl_linux_open {
    uint32_t kind; /* enum hl_linux_kind */
    uint32_t refs;
    uint32_t flags; /* O_* */
    uint32_t node;
    uint64_t offset;
};

struct hl_linux_descriptor {
    uint16_t open; /* 1 + the index of its description; 0: it is closed */
    uint16_t close_on_exec;
};

/* Bytes on their way from one open description to another: queues.h. */
struct hl_linux_queue {
    uint32_t node;         /* its bytes; 0: there is no such queue */
    uint32_t start;        /* of those that were not read yet */
    uint8_t uses;          /* descriptions */
    uint8_t reads, writes; /* somebody may do so still */
    uint8_t type;          /* SOCK_*; 0: a pipe */
    uint32_t puts, takes;  /* times; an end of either is one */
};

/* That an epoll set waits for something: watches.h. */
struct hl_linux_watch {
    uint16_t set;  /* 1 + the index of its description; 0: there is none */
    uint16_t open; /* the same, of what is watched */
    uint32_t fd;   /* as which it was */
    uint32_t events, seen;
    uint64_t data, changes;
};

/* How far it is with the host's request. */
enum hl_linux_talk_state {
    HL_LINUX_LISTENS,    /* there is none */
    HL_LINUX_ASKED,      /* from request_at on it was not read yet */
    HL_LINUX_READ_TO_END /* its end is to be told yet */
};

/* Holds no pointer.  Zeroed, it is that of no program. */
struct hl_linux_process {
    uint64_t brk_start, brk;
    uint64_t mask, pending; /* signals: bit n - 1 */
    struct hl_linux_stack stack;
    uint64_t clear_tid;
    uint64_t thread; /* where FS points */
    uint32_t file_mode_mask;
    uint32_t folder; /* the node that it works in */
    uint32_t most_files;

    /* In a call that goes on later, with the arguments that are still in the
     * registers.  When: as hl_now says it. */
    uint32_t waits;
    uint64_t waits_for, wake_at, waits_from;

    /* The timer's signal, as hl_linux_passed says it; 0: none, or not again.
     */
    uint64_t alarm_at, alarm_every;

    /* What the mask is after this call, which has another. */
    uint64_t kept_mask;
    uint32_t keeps_mask;

    uint32_t talk; /* enum hl_linux_talk_state */
    uint32_t baked;
    uint64_t request_at;

    uint64_t frozen; /* the time of day that it is; 0: it goes on */
    uint64_t frozen_passed;

    char name[16];
    struct hl_linux_action actions[HL_LINUX_SIGNALS + 1];
    struct hl_linux_descriptor descriptors[HL_LINUX_FILES];
    struct hl_linux_open open[HL_LINUX_FILES];

    /* Ascending, without overlap; neighbours differ, or do not adjoin. */
    uint64_t mapping_count;
    struct hl_linux_mapping mappings[HL_LINUX_MAPPINGS];

    struct hl_linux_queue queues[HL_LINUX_FILES];
    struct hl_linux_watch watches[HL_LINUX_WATCHES];
};

/* What a program wrote. */
struct hl_linux_output {
    char *bytes;
    size_t size, capacity;
};

/* What the host is asked for: see given.h.  node 0: nothing. */
struct hl_linux_ask {
    uint32_t node, source;
};

/* What a program went beyond. */
enum hl_linux_limit {
    HL_LINUX_NO_LIMIT,
    HL_LINUX_OUTPUT_LIMIT,
    HL_LINUX_CALLS_LIMIT
};

/* Why it does not go on. */
enum hl_linux_end {
    HL_LINUX_RUNS,
    HL_LINUX_EXITED,   /* number: its exit code, 0 to 255 */
    HL_LINUX_SIGNALLED /* number: the signal */
};

struct hl_linux {
    struct hl_abi head;
    struct hl_window window;
    struct hl_linux_process *process;
    struct hl_span arena; /* for brk and mmap: readable, writable */
    struct hl_files files;

    enum hl_linux_end end;
    int number;

    const char *input; /* the caller's */
    size_t input_size;
    struct hl_linux_output output[2]; /* standard output, and error */
    size_t output_limit;              /* of both together in one exchange */
    size_t written;                   /* of that */
    bool has_output;                  /* that was written by the last call */
    bool streams;                     /* the caller wants it at once */
    uint64_t calls_limit, calls;      /* in one exchange */
    enum hl_linux_limit limit;        /* that it went beyond */

    /* Of the exchange under way: the caller's, and the program's. */
    const char *request;
    size_t request_size;
    bool is_asked; /* there is one for the next run */
    struct hl_linux_output answer;
    bool answered, listens;

    struct hl_linux_ask ask;
    int refusal;            /* of what was asked for last */
    uint32_t answered_node; /* to be asked for again by the next call */

    uint64_t stack_size;
    uint64_t began; /* as hl_now says it */

    /* During a call: its machine (NULL: in a test), and its registers. */
    struct hl_vm *vm;
    struct hl_vm_regs *regs;

    /* Where system calls were made cheaper; the first of them are kept. */
    uint64_t *patches;
    size_t patch_count, patch_room, trusted_patches;

    /* Times that each was not served since memory was put back. */
    uint32_t refused[HL_LINUX_CALLS];

    struct hl_x86_region *finer; /* of the baked program */
};

/* What a call returns that is not over: it waits, or asks (given.h). */
#define HL_LINUX_WAITS (-5000)
#define HL_LINUX_ASKS (-5001)

/* Serve the system call in the registers, and put there what it returns,
 * unless it is not over. */
void hl_linux_serve(struct hl_linux *linux_);

/* Memory for the process and that many pages of its files. */
size_t hl_linux_kernel_size(size_t file_pages);

/* A process begins in zeroed memory of that size: nothing is mapped, standard
 * input, output and error are open, and there are no files. */
void hl_linux_begin(struct hl_linux *linux_, void *memory, size_t file_pages);

/* For the files of this folder.  Arguments are as they come: unchecked. */
typedef int64_t hl_linux_call(struct hl_linux *linux_, const uint64_t *args);

/* The page-aligned end of [0, size), or 0 where that is beyond 2^47. */
static inline uint64_t hl_linux_page_up(uint64_t size)
{
    if (size > (uint64_t)1 << 47)
        return 0;
    return (size + HL_LINUX_PAGE - 1) & ~(HL_LINUX_PAGE - 1);
}

/* What a descriptor is open to, or NULL; the node of a file or folder, or 0.
 */
struct hl_linux_open *hl_linux_opened(const struct hl_linux *linux_,
                                      uint64_t fd);
uint32_t hl_linux_node_of(const struct hl_linux *linux_, uint64_t fd);

/* The time of day, for the program: ns since 1970. */
uint64_t hl_linux_now(const struct hl_linux *linux_);

/* -ENOMEM: nothing was appended. */
int hl_linux_append(struct hl_linux_output *out, const void *from,
                    size_t size) HL_MUST_CHECK;

/* Copy from the guest, or to it: 0 or -EFAULT.  NULL in `from` or 0 in `size`
 * is nobody's special case: the guest has no page 0. */
int hl_linux_get(const struct hl_linux *linux_, uint64_t addr, void *to,
                 size_t size) HL_MUST_CHECK;
int hl_linux_put(const struct hl_linux *linux_, uint64_t addr,
                 const void *from, size_t size) HL_MUST_CHECK;

#endif
