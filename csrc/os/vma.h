/* What the kernel knows about a range of our address space: PROCMAP_QUERY
 * (Linux 6.11), /proc/self/maps and smaps (proc(5)); VirtualQuery on Windows.
 * Single pages: page.h. */
#ifndef HL_OS_VMA_H
#define HL_OS_VMA_H

#include "base.h"

/* Kinds of memory, by what happens to a page that is dropped (madvise), and by
 * the unit of protection.  Locked, unreserved and stack-growing memory is
 * ordinary in both respects, and so not a kind of its own.  Bits: a range can
 * be of several kinds. */
enum hl_kind {
    HL_KIND_PRIVATE = 1,    /* anonymous: a dropped page is zero */
    HL_KIND_SHARED = 2,     /* shmem: dropped, it stays; removed, it is zero */
    HL_KIND_FILE = 4,       /* a shared mapping of any other file: the same */
    HL_KIND_FILE_COPY = 8,  /* private, of a file: its bytes come back */
    HL_KIND_HUGETLB = 16,   /* hugetlbfs: protected by the huge page only */
    HL_KIND_DEVICE = 32,    /* a driver's: may change by itself */
    HL_KIND_UNKNOWN = 64,   /* mapped, and there is no /proc to ask */
    HL_KIND_OWN_HEAP = 128, /* the break, but for a block from malloc's */
    HL_KIND_STACK = 256,    /* the main thread's, or the caller's */
    HL_KIND_LIBRARY = 512,  /* this library's own data */
};

/* Ways to touch memory; on POSIX, PROT_*. */
enum hl_prot { HL_PROT_READ = 1, HL_PROT_WRITE = 2, HL_PROT_EXEC = 4 };

struct hl_vma {
    int prot;         /* enum hl_prot, the same over the whole stretch */
    bool anonymous;   /* private, no file behind it: untouched means zero */
    unsigned kinds;   /* enum hl_kind, each that it is of */
    size_t page_size; /* the largest unit in which it can be protected */
};

/* Describe [addr, addr + size).  -EFAULT: part of it is not mapped; -EINVAL:
 * its parts differ in protection; or the error of opening /proc/self/maps,
 * except ENOENT: without /proc the kind is unknown, and protection is assumed
 * to be read and write. */
int hl_vma_query(const void *addr, size_t size,
                 struct hl_vma *vma) HL_MUST_CHECK;

/* May all of [addr, addr + size) be touched in these ways (enum
 * hl_prot)?  0; -EFAULT: part of it is not mapped; -EACCES: all is, and
 * part of it may not be; or -ENOTTY: this kernel cannot be asked (before
 * Linux 6.11, or without /proc).  Costs 0.5 us a mapping. */
int hl_vma_allows(const void *addr, size_t size, int prot) HL_MUST_CHECK;

/* Called with each mapping, cut to what was asked for, ascending.  It may
 * change their protection. */
typedef void hl_vma_found(void *context, uintptr_t start, uintptr_t end,
                          int prot, unsigned kind);

/* The mappings of [addr, +size); between them there is nothing.  Where the
 * kernel cannot be asked it is read from /proc/self/maps, which takes some
 * 100 us.  -errno: that cannot be opened; some may have been passed on. */
int hl_vma_each(const void *addr, size_t size, hl_vma_found *found,
                void *context) HL_MUST_CHECK;

/* Is all of it mapped?  Without /proc, and without a word on rights. */
bool hl_vma_is_mapped(const void *addr, size_t size);

/* Make all pages there exist, as a touch would.  True: all can be touched.
 * False says little: a page may be armed, or the kernel older than 5.14. */
bool hl_vma_populate(const void *addr, size_t size, int prot);

/* The first of these kinds in words, as the object of a sentence. */
const char *hl_kind_name(unsigned kinds);

/* Is a userfaultfd, of whomever, told of faults there?  Takes as long as
 * reading smaps. */
bool hl_vma_is_watched(const void *addr, size_t size);

/* Does the mapping at addr get huge pages, by its advice and by the system's
 * setting ("THPeligible" of /proc/self/smaps)?  Costs a walk over the tables
 * of what is mapped below it. */
bool hl_vma_wants_huge(const void *addr);

/* To read so much costs less than a walk over the mappings below it, of which
 * there may be thousands. */
#define HL_VMA_READ_RATHER ((size_t)256 << 10)

/* Is any page of [addr, +size) swapped out now, as far as that can be known?
 * pagemap does not tell such a page from one that was armed before it was ever
 * touched; "Swap" of /proc/self/smaps does, and /proc/swaps mostly says that
 * there is nothing to look for.  Where there is, it is not asked of small
 * ranges (HL_VMA_READ_RATHER): true, and the caller has to read them. */
bool hl_may_be_swapped(const void *addr, size_t size);

#endif
