#include "os/vma.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inject.h"
#include "os/linux/descriptor.h"
#include "os/linux/heap.h"
#include "os/linux/uapi.h"
#include "os/map.h"
#include "os/others.h"

_Static_assert(HL_PROT_READ == PROT_READ && HL_PROT_WRITE == PROT_WRITE &&
                   HL_PROT_EXEC == PROT_EXEC,
               "os/vma.h");

/* One mapping. */
struct line {
    uintptr_t start, end;
    int prot;
    bool shared;
    bool file;        /* it has an inode */
    size_t page_size; /* 0: not known */
    char name[64];    /* its path, or what the kernel calls it; cut */
};

/* Answers for the mapping at `at`, or the next above: 1, 0 if there is none,
 * or -errno.  Costs 0.5 us whatever else is mapped. */
static int ask(int fd, uintptr_t at, struct line *line)
{
    struct procmap_query query = {
        .size = sizeof query,
        .query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA,
        .query_addr = at,
    };
    char name[4200]; /* a path is at most PATH_MAX */

    hl_spend(HL_COST_CALL / 2);
    query.vma_name_addr = (uintptr_t)name;
    query.vma_name_size = sizeof name;
    name[0] = '\0';
    if (ioctl(fd, PROCMAP_QUERY, &query) < 0)
        return errno == ENOENT ? 0 : -errno;
    *line = (struct line){
        .start = query.vma_start,
        .end = query.vma_end,
        .prot =
            (query.vma_flags & PROCMAP_QUERY_VMA_READABLE ? PROT_READ : 0) |
            (query.vma_flags & PROCMAP_QUERY_VMA_WRITABLE ? PROT_WRITE : 0) |
            (query.vma_flags & PROCMAP_QUERY_VMA_EXECUTABLE ? PROT_EXEC : 0),
        .shared = query.vma_flags & PROCMAP_QUERY_VMA_SHARED,
        .file = query.inode != 0,
        .page_size = query.vma_page_size,
    };
    (void)memccpy(line->name, name, '\0', sizeof line->name - 1);
    return 1;
}

/* The kernel writes such a text line by line, as it is read. */
static FILE *open_text(const char *path)
{
    hl_let_others_run();
    return fopen(path, "re");
}

/* One line of maps: "start-end rwxp offset dev inode path". */
static bool parse_line(const char *text, struct line *line)
{
    char prot[5];
    uintptr_t inode;

    *line = (struct line){0};
    if (sscanf(text,
               "%" SCNxPTR "-%" SCNxPTR " %4s %*x %*s %" SCNuPTR " %63[^\n]",
               &line->start, &line->end, prot, &inode, line->name) < 4)
        return false;
    line->prot = (prot[0] == 'r' ? PROT_READ : 0) |
                 (prot[1] == 'w' ? PROT_WRITE : 0) |
                 (prot[2] == 'x' ? PROT_EXEC : 0);
    line->shared = prot[3] == 's';
    line->file = inode != 0;
    return true;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static unsigned kind_of(const struct line *line)
{
    const char *name = line->name;

    if (strcmp(name, "[heap]") == 0)
        return HL_KIND_OWN_HEAP;
    if (strcmp(name, "[stack]") == 0)
        return HL_KIND_STACK;
    if (line->page_size > hl_page_size())
        return HL_KIND_HUGETLB;
    if (!line->file && !starts_with(name, "anon_inode:"))
        return line->shared ? HL_KIND_SHARED : HL_KIND_PRIVATE;
    if (starts_with(name, "/dev/zero") || starts_with(name, "/dev/shm/") ||
        starts_with(name, "/memfd:") || starts_with(name, "/SYSV"))
        return line->shared ? HL_KIND_SHARED : HL_KIND_FILE_COPY;
    if (starts_with(name, "/dev/") || starts_with(name, "anon_inode:"))
        return HL_KIND_DEVICE;
    return line->shared ? HL_KIND_FILE : HL_KIND_FILE_COPY;
}

static ssize_t smaps_sum(uintptr_t start, uintptr_t end, const char *field);

/* A walk over mappings, in the way that this kernel has. */
struct walk {
    int fd;
    FILE *maps; /* before Linux 6.11 */
    uintptr_t at, end;
    struct hl_vma *vma;
};

static int next_by_text(struct walk *w, struct line *line)
{
    char text[4200];

    while (fgets(text, sizeof text, w->maps)) {
        if (!parse_line(text, line) || line->end <= w->at)
            continue;
        /* maps does not tell hugetlbfs from other files. */
        ssize_t kib = !line->file ? 0
                                  : smaps_sum(line->start, line->start + 1,
                                              "KernelPageSize:");
        if (kib < 0)
            return (int)kib;
        line->page_size = (size_t)kib << 10;
        return 1;
    }
    return 0;
}

static int walk(struct walk *w)
{
    struct hl_vma *vma = w->vma;
    struct line line;
    bool first = true;

    *vma = (struct hl_vma){.anonymous = true, .page_size = hl_page_size()};
    while (w->at < w->end) {
        int got = w->maps ? next_by_text(w, &line) : ask(w->fd, w->at, &line);
        if (got < 0)
            return got;
        if (got == 0 || line.start > w->at)
            return -EFAULT; /* a hole */
        if (first)
            vma->prot = line.prot;
        else if (vma->prot != line.prot)
            return -EINVAL;
        unsigned kind = kind_of(&line);
        vma->kinds |= kind;
        vma->anonymous = vma->anonymous && !line.file && !line.shared;
        if (line.page_size > vma->page_size)
            vma->page_size = line.page_size;
        first = false;
        w->at = line.end;
    }
    return 0;
}

/* Does [start, end) touch the stack that we run on?  The mapping does not
 * tell: a stack's mapping may have merged with its neighbours. */
static bool on_our_stack(uintptr_t start, uintptr_t end)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), low = here, high;
    pthread_attr_t attributes;
    void *addr;
    size_t size = 1;

    /* The main thread's is called [stack], and asking for it is reading all of
     * maps. */
    if (getpid() != (pid_t)syscall(SYS_gettid) &&
        pthread_getattr_np(pthread_self(), &attributes) == 0) {
        if (pthread_attr_getstack(&attributes, &addr, &size) == 0)
            low = (uintptr_t)addr;
        pthread_attr_destroy(&attributes);
    }
    high = low + size;
    return (start < high && low < end) || (start <= here && here < end);
}

static bool holds(uintptr_t start, uintptr_t end, const volatile void *what)
{
    return start <= (uintptr_t)what && (uintptr_t)what < end;
}

/* Memory that this library itself uses: restoring it would overwrite the state
 * of the restore under way. */
static unsigned own_kinds(uintptr_t start, uintptr_t end, unsigned kinds)
{
    static volatile char data = 1, bss;

    if (kinds & HL_KIND_OWN_HEAP && hl_heap_is_in_block(start, end))
        kinds = (kinds & ~(unsigned)HL_KIND_OWN_HEAP) | HL_KIND_PRIVATE;
    if (on_our_stack(start, end))
        kinds |= HL_KIND_STACK;
    if (holds(start, end, &data) || holds(start, end, &bss) ||
        holds(start, end, &errno))
        kinds |= HL_KIND_LIBRARY;
    return kinds;
}

/* Without /proc, only this can be checked: that every page is mapped. */
static int without_proc(uintptr_t at, uintptr_t end, struct hl_vma *vma)
{
    size_t page = hl_page_size();
    unsigned char present[64];

    while (at < end) {
        size_t size = end - at;
        if (size > sizeof present * page)
            size = sizeof present * page;
        if (mincore((void *)at, size, present) < 0)
            return errno == ENOMEM ? -EFAULT : -errno;
        at += size;
    }
    *vma = (struct hl_vma){
        .prot = PROT_READ | PROT_WRITE,
        .kinds = HL_KIND_UNKNOWN,
        .page_size = page,
    };
    return 0;
}

static int query_text(uintptr_t start, uintptr_t end, struct hl_vma *vma)
{
    struct walk w = {
        .maps = open_text("/proc/self/maps"),
        .at = start,
        .end = end,
        .vma = vma,
    };
    if (w.maps == NULL)
        return -errno;
    int err = walk(&w);
    fclose(w.maps);
    return err;
}

int hl_vma_query(const void *addr, size_t size, struct hl_vma *vma)
{
    uintptr_t start = (uintptr_t)addr, end = start + size;
    struct walk w = {.at = start, .end = end, .vma = vma};

    w.fd = hl_descriptor_of_proc(HL_DESCRIPTOR_MAPS);
    int err = w.fd < 0 ? w.fd : walk(&w);
    if (err == -ENOTTY || err == -ENOSYS || err == -EPERM ||
        HL_INJECT(HL_INJECT_QUERY))
        err =
            query_text(start, end, vma); /* an old kernel, emulator, filter */
    if (err == -ENOENT)
        err = without_proc(start, end, vma);
    if (err == 0)
        vma->kinds = own_kinds(start, end, vma->kinds);
    return err;
}

int hl_vma_allows(const void *addr, size_t size, int prot)
{
    uintptr_t at = (uintptr_t)addr, end = at + size;
    int fd = hl_descriptor_of_proc(HL_DESCRIPTOR_MAPS), err = 0, got = 1;
    struct line line;

    if (fd < 0 || HL_INJECT(HL_INJECT_QUERY))
        return -ENOTTY;
    /* A hole is worse than a missing right, so the walk goes on after one. */
    for (; at < end; at = line.end) {
        got = ask(fd, at, &line);
        if (got <= 0 || line.start > at)
            return got < 0 ? -ENOTTY : -EFAULT;
        if ((line.prot & prot) != prot)
            err = -EACCES;
    }
    return err;
}

struct each {
    uintptr_t at, end;
    hl_vma_found *found;
    void *context;
};

/* False: it was the last one. */
static bool pass_on(struct each *e, const struct line *line)
{
    if (line->start >= e->end)
        return false;
    if (line->end <= e->at)
        return true;
    e->found(e->context, line->start > e->at ? line->start : e->at,
             line->end < e->end ? line->end : e->end, line->prot,
             kind_of(line));
    e->at = line->end;
    return e->at < e->end;
}

static int each_by_text(struct each *e)
{
    char text[4200];
    struct line line;
    FILE *maps = open_text("/proc/self/maps");
    if (maps == NULL)
        return -errno;
    while (fgets(text, sizeof text, maps))
        if (parse_line(text, &line) && !pass_on(e, &line))
            break;
    fclose(maps);
    return 0;
}

int hl_vma_each(const void *addr, size_t size, hl_vma_found *found,
                void *context)
{
    uintptr_t at = (uintptr_t)addr;
    struct each e = {at, at + size, found, context};
    int fd = hl_descriptor_of_proc(HL_DESCRIPTOR_MAPS), got;
    struct line line;

    if (fd < 0 || HL_INJECT(HL_INJECT_QUERY))
        return each_by_text(&e);
    while ((got = ask(fd, e.at, &line)) > 0 && pass_on(&e, &line))
        ;
    return got < 0 ? each_by_text(&e) : 0;
}

bool hl_vma_is_mapped(const void *addr, size_t size)
{
    uintptr_t at = (uintptr_t)addr;
    struct hl_vma unused;

    return without_proc(at, at + size, &unused) != -EFAULT;
}

bool hl_vma_populate(const void *addr, size_t size, int prot)
{
    int advice = prot & PROT_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
    return madvise((void *)addr, size, advice) == 0;
}

/* Call for what a field of smaps says of each mapping that [start, end)
 * touches. */
static int smaps_each(uintptr_t start, uintptr_t end, const char *field,
                      void (*said)(void *context, const char *value),
                      void *context)
{
    const size_t length = strlen(field);
    bool inside = false;
    char text[4200];

    FILE *smaps = open_text("/proc/self/smaps");
    if (smaps == NULL)
        return -errno;
    while (fgets(text, sizeof text, smaps)) {
        struct line line;
        if (parse_line(text, &line)) {
            inside = line.start < end && start < line.end;
            if (line.start >= end)
                break;
        } else if (inside && strncmp(text, field, length) == 0) {
            said(context, text + length);
        }
    }
    fclose(smaps);
    return 0;
}

static void add_number(void *context, const char *value)
{
    ssize_t *total = context;
    size_t number;

    if (sscanf(value, "%zu", &number) == 1)
        *total += (ssize_t)number;
}

static ssize_t smaps_sum(uintptr_t start, uintptr_t end, const char *field)
{
    ssize_t total = 0;
    int err = smaps_each(start, end, field, add_number, &total);

    return err < 0 ? err : total;
}

/* Of faults for missing pages, for writes, and for minor faults. */
static void find_watched(void *context, const char *flags)
{
    bool *found = context;

    *found = *found || strstr(flags, " um ") || strstr(flags, " uw ") ||
             strstr(flags, " ui ");
}

bool hl_vma_is_watched(const void *addr, size_t size)
{
    uintptr_t at = (uintptr_t)addr;
    bool found = false;

    return smaps_each(at, at + size, "VmFlags:", find_watched, &found) == 0 &&
           found;
}

bool hl_vma_wants_huge(const void *addr)
{
    uintptr_t at = (uintptr_t)addr;
    return smaps_sum(at, at + 1, "THPeligible:") == 1;
}

/* A line for each, below a heading. */
static bool has_swap(void)
{
    int lines = 0, c;

    FILE *swaps = open_text("/proc/swaps");
    if (swaps == NULL)
        return true;
    while ((c = getc(swaps)) != EOF)
        lines += c == '\n';
    fclose(swaps);
    return lines > 1;
}

bool hl_may_be_swapped(const void *addr, size_t size)
{
    uintptr_t at = (uintptr_t)addr;
    return has_swap() && (size <= HL_VMA_READ_RATHER ||
                          smaps_sum(at, at + size, "Swap:") != 0);
}
