/* Memory from the operating system, and random bytes.  Outside of track/ and
 * vm/ this is the only file that asks for memory. */
#ifndef HL_OS_MEMORY_H
#define HL_OS_MEMORY_H

#include "base.h"

/* A huge page of x86-64, and of arm64 with pages of 4 KiB: the only one that
 * this library asks for or makes by itself. */
#define HL_HUGE_SIZE ((size_t)2 << 20)

size_t hl_page_size(void);

/* What a page table maps, and so a huge page: 32 MiB with pages of 16 KiB, 512
 * with 64.  One write would zero as much, and its copy copy it. */
static inline size_t hl_huge_size(void)
{
    const size_t page = hl_page_size();

    return page / sizeof(uint64_t) * page;
}

static inline bool hl_huge_is_wanted(void)
{
    return hl_huge_size() == HL_HUGE_SIZE;
}

/* To a multiple of `unit`. */
static inline size_t hl_align_down(size_t value, size_t unit)
{
    return value / unit * unit;
}

static inline size_t hl_align_up(size_t value, size_t unit)
{
    return hl_align_down(value + unit - 1, unit);
}

/* What holds memory. */
struct hl_backing {
    const char *name;
    int flags;                /* of mmap, or of VirtualAlloc */
    int (*open)(size_t size); /* a descriptor of that much; NULL: none */
};

extern const struct hl_backing hl_anonymous; /* zero-filled */
/* The same, for memory that is tracked: where the system notes writes only to
 * what was reserved for that (Windows), it is. */
extern const struct hl_backing hl_watchable;

/* The calls that get memory and that change its protection, for errors. */
extern const char hl_memory_call[], hl_protect_call[];

/* Address space of `size` bytes at *addr, a multiple of the page size; usable:
 * it can be read and written at once, otherwise where hl_memory_allow was
 * called.  Memory is used when it is touched.  -ENOMEM and the like. */
int hl_memory_reserve(const struct hl_backing *backing, size_t size,
                      bool usable, void **addr) HL_MUST_CHECK;
int hl_memory_allow(void *addr, size_t size) HL_MUST_CHECK;
void hl_memory_release(void *addr, size_t size);

/* Any access ends in SIGSEGV, or an access violation.  Where the kernel can
 * (Linux 6.13) it remains one mapping with what is around it. */
int hl_memory_guard(void *addr, size_t size) HL_MUST_CHECK;

/* Could so much memory be had that can be written and executed?  -EACCES or
 * -EPERM: none at all. */
int hl_memory_try_executable(size_t size) HL_MUST_CHECK;

/* Whether huge pages are wanted there: only advice, since not every kernel has
 * them.  Some systems use them unless told otherwise. */
void hl_memory_want_huge(void *addr, size_t size, bool wanted);

/* Make huge pages of small ones (Linux 6.1), even where the system's setting
 * is never to; costs a copy, and some more.  The bytes stay as they are. */
bool hl_memory_collapse(void *addr, size_t size);

/* Give pages back: they read as zero.  False: they are as they were. */
bool hl_memory_drop(void *addr, size_t size);

/* What pages hold is not needed any more: it may be lost, or not. */
void hl_memory_forget(void *addr, size_t size);

/* Unpredictable bytes. */
int hl_random(void *to, size_t size) HL_MUST_CHECK;

#endif
