/* malloc over one region of zeroed memory, of a few KiB or of many GiB.
 *
 * A page that is never written stays unbacked on the host and is not part of
 * any snapshot's cost, so that what was used before is used again first, and
 * nothing above it is ever touched.  Every operation takes a bounded number of
 * steps; free memory is filed by size, eight classes a power of two.
 *
 *  H1. The heap is a row of blocks up to `top`; each begins with a struct
 *      block, its payload is aligned to 16.
 *  H2. Two neighbours are never both free, and the block below `top` is in
 *      use.
 *  H3. A block's `below` is the size of the block under it, 0 for the first;
 *      `last` is that of the block under `top`.
 *  H4. Every free block is in the list of its class, and `classes` and
 *      `lists` say which lists have any.
 *  H5. From `fresh` on every byte is zero.
 *
 * Headers are redundant.  free compares them and ends the guest if they
 * contradict each other: this finds most overruns and double frees. */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN ((size_t)16)
#define SMALLEST (sizeof(struct block))
#define HEADER (offsetof(struct block, next))

/* Above all sizes; distinguishes headers from other data. */
#define IN_USE ((size_t)0xa11c << 48)
#define IS_FREE ((size_t)0xf4ee << 48)
#define MARK ((size_t)0xffff << 48)

#define STEPS 8 /* classes in a power of two */
#define POWERS 48

struct block {
    size_t below;              /* H3; first, where an overrun hits it */
    size_t marked;             /* size, header included, and IN_USE or not */
    struct block *next, *prev; /* of a free block; else payload */
};

static char *start, *top, *limit, *fresh;
static size_t last;
static uint64_t classes;      /* bit p: lists[p] is not 0 */
static uint8_t lists[POWERS]; /* bit s: bins[p][s] is not empty */
static struct block *bins[POWERS][STEPS];

void hl_heap_init(void *memory, size_t size)
{
    uintptr_t first = ((uintptr_t)memory + ALIGN - 1) & ~(ALIGN - 1);
    uintptr_t end = ((uintptr_t)memory + size) & ~(ALIGN - 1);

    start = top = fresh = (char *)first;
    limit = (char *)(end > first ? end : first);
}

static size_t size_of(const struct block *block)
{
    return block->marked & ~MARK;
}

static bool is_free(const struct block *block)
{
    return (block->marked & MARK) == IS_FREE;
}

static struct block *at(char *address)
{
    return (struct block *)(void *)address;
}

static struct block *after(struct block *block)
{
    return at((char *)block + size_of(block));
}

static void *payload(struct block *block) { return (char *)block + HEADER; }

__attribute__((noreturn)) static void corrupt(const char *what)
{
    hl_abort("heap: %s", what);
}

/* ---- The lists of free blocks ---- */

/* The class that blocks of this size are in: power, and which eighth of the
 * way to the next. */
static void class_of(size_t size, unsigned *power, unsigned *step)
{
    *power = 63 - (unsigned)__builtin_clzll(size);
    *step = (unsigned)(size >> (*power - 3)) % STEPS;
}

static void file(struct block *block)
{
    unsigned p, s;

    class_of(size_of(block), &p, &s);
    block->prev = NULL;
    block->next = bins[p][s];
    if (block->next)
        block->next->prev = block;
    bins[p][s] = block;
    lists[p] |= (uint8_t)(1u << s);
    classes |= UINT64_C(1) << p;
}

static void unfile(struct block *block)
{
    unsigned p, s;

    class_of(size_of(block), &p, &s);
    if (block->next && block->next->prev != block)
        corrupt("a freed block was written to");
    if (block->prev ? block->prev->next != block : bins[p][s] != block)
        corrupt("a freed block was written to");
    if (block->next)
        block->next->prev = block->prev;
    if (block->prev) {
        block->prev->next = block->next;
        return;
    }
    bins[p][s] = block->next;
    if (block->next)
        return;
    lists[p] &= (uint8_t)~(1u << s);
    if (lists[p] == 0)
        classes &= ~(UINT64_C(1) << p);
}

/* A free block of at least `size`, or NULL.  Looks from the class on whose
 * every block is large enough: what is passed over is at most an eighth too
 * large, and no list is ever walked. */
static struct block *find(size_t size)
{
    unsigned p, s;

    class_of(size, &p, &s);
    if (size & (((size_t)1 << (p - 3)) - 1) && ++s == STEPS) {
        s = 0;
        p++;
    }
    unsigned found = p < POWERS ? lists[p] & (0xffu << s) : 0;
    if (!found) {
        uint64_t larger = p + 1 < POWERS ? classes >> (p + 1) << (p + 1) : 0;
        if (!larger)
            return NULL;
        p = (unsigned)__builtin_ctzll(larger);
        found = lists[p];
    }
    return bins[p][__builtin_ctz(found)];
}

/* ---- Blocks ---- */

/* Tell whoever lies above `block` its size. */
static void set_size(struct block *block, size_t size, size_t mark)
{
    block->marked = size | mark;
    char *end = (char *)block + size;
    if (end == top)
        last = size;
    else
        at(end)->below = size;
}

/* Free [block, block + size), whose `below` is right, joining it with free
 * neighbours or with what lies above top. */
static void release(struct block *block, size_t size)
{
    char *end = (char *)block + size;

    block->marked = size | IS_FREE; /* a second free of it finds this */
    if (block->below != 0) {
        struct block *lower = at((char *)block - block->below);
        if (is_free(lower)) {
            unfile(lower);
            block = lower;
        }
    }
    if (end != top && is_free(at(end))) {
        struct block *upper = at(end);
        unfile(upper);
        end += size_of(upper);
    }
    if (end == top) {
        top = (char *)block;
        last = block->below;
        return;
    }
    set_size(block, (size_t)(end - (char *)block), IS_FREE);
    file(block);
}

/* Keep `size` of a block in use and free the rest, if that can be a block. */
static void trim(struct block *block, size_t size)
{
    size_t rest = size_of(block) - size;

    if (rest < SMALLEST)
        return;
    struct block *upper = at((char *)block + size);
    block->marked = size | IN_USE;
    upper->below = size;
    release(upper, rest);
}

/* `size` bytes at top, or NULL. */
static struct block *grow(size_t size)
{
    if (size > (size_t)(limit - top))
        return NULL;
    struct block *block = at(top);
    block->below = last;
    top += size;
    set_size(block, size, IN_USE);
    if (top > fresh)
        fresh = top;
    return block;
}

/* A block's size for a payload of `size` bytes; 0 where there is none. */
static size_t block_size(size_t size)
{
    if (size > (size_t)(limit - start))
        return 0;
    size = (size + HEADER + ALIGN - 1) & ~(ALIGN - 1);
    return size < SMALLEST ? SMALLEST : size;
}

/* The block of a pointer that malloc gave, or the guest's end. */
static struct block *checked(void *memory)
{
    struct block *block = at((char *)memory - HEADER);
    uintptr_t address = (uintptr_t)block;

    if (address % ALIGN != 0 || address < (uintptr_t)start ||
        address >= (uintptr_t)fresh)
        corrupt("a pointer that is not from malloc");
    if (is_free(block))
        corrupt("freed twice");
    if ((block->marked & MARK) != IN_USE || address >= (uintptr_t)top)
        corrupt("a pointer that is not from malloc, or an overrun");
    size_t size = size_of(block);
    if (size < SMALLEST || size > (size_t)(top - (char *)block) ||
        ((char *)block + size == top ? last : after(block)->below) != size)
        corrupt("written past the end of a block");
    if (block->below > (size_t)((char *)block - start) ||
        (block->below != 0 &&
         size_of(at((char *)block - block->below)) != block->below))
        corrupt("written past the end of a block");
    return block;
}

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t size)
{
    size_t needed = block_size(size);
    if (needed == 0)
        return no_memory();

    struct block *block = find(needed);
    if (!block) {
        block = grow(needed);
        return block ? payload(block) : no_memory();
    }
    unfile(block);
    set_size(block, size_of(block), IN_USE);
    trim(block, needed);
    return payload(block);
}

void free(void *memory)
{
    if (!memory)
        return;
    struct block *block = checked(memory);
    release(block, size_of(block));
}

void *calloc(size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        return no_memory();

    char *used = fresh; /* H5 */
    char *memory = malloc(total);
    if (memory && memory < used) {
        size_t dirty = (size_t)(used - memory);
        memset(memory, 0, dirty < total ? dirty : total);
    }
    return memory;
}

/* Make a block in use larger where it is, from what lies above it. */
static bool extend(struct block *block, size_t needed)
{
    size_t size = size_of(block);

    if ((char *)block + size == top) {
        if (needed - size > (size_t)(limit - top))
            return false;
        top = (char *)block + needed;
        if (top > fresh)
            fresh = top;
        set_size(block, needed, IN_USE);
        return true;
    }
    struct block *upper = after(block);
    if (!is_free(upper) || size + size_of(upper) < needed)
        return false;
    unfile(upper);
    set_size(block, size + size_of(upper), IN_USE);
    trim(block, needed);
    return true;
}

void *realloc(void *memory, size_t size)
{
    if (!memory)
        return malloc(size);
    struct block *block = checked(memory);
    size_t needed = block_size(size);
    if (needed == 0)
        return no_memory();
    if (needed <= size_of(block)) {
        trim(block, needed);
        return memory;
    }
    if (extend(block, needed))
        return memory;
    void *copy = malloc(size);
    if (copy) {
        memcpy(copy, memory, size_of(block) - HEADER);
        free(memory);
    }
    return copy;
}

size_t malloc_usable_size(void *memory)
{
    return memory ? size_of(checked(memory)) - HEADER : 0;
}

/* Give a block in use from `address` on, which is inside it, and free what
 * lies before. */
static struct block *cut_front(struct block *block, char *address)
{
    size_t gap = (size_t)(address - (char *)block);
    size_t rest = size_of(block) - gap;
    struct block *upper = at(address);

    set_size(upper, rest, IN_USE);
    upper->below = gap;
    release(block, gap);
    return upper;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
        errno = EINVAL;
        return NULL;
    }
    if (alignment <= ALIGN)
        return malloc(size);
    size_t total;
    if (__builtin_add_overflow(size, alignment + SMALLEST, &total))
        return no_memory();
    char *memory = malloc(total);
    if (!memory)
        return NULL;

    /* Room in front for a block of its own, or none. */
    struct block *block = at(memory - HEADER);
    if ((uintptr_t)memory % alignment != 0) {
        uintptr_t aligned =
            ((uintptr_t)memory + SMALLEST + alignment - 1) & ~(alignment - 1);
        block = cut_front(block, (char *)aligned - HEADER);
    }
    trim(block, block_size(size));
    return payload(block);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    if (alignment % sizeof(void *) != 0)
        return EINVAL;
    int saved = errno;
    void *block = aligned_alloc(alignment, size);
    int failed = block ? 0 : errno;
    errno = saved;
    if (block)
        *memory = block;
    return failed;
}
