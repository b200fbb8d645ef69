/* The guest runtime's copies and heap, under other names, beside the C
 * library's copies and a model of a heap, which are the oracles. */
#include <errno.h>
#include <setjmp.h>
#include <string.h>

#include "check.h"

#include "guest/internal.h"

static jmp_buf aborted;

void hl_abort(const char *format, ...)
{
    (void)format;
    longjmp(aborted, 1);
}

/* Its headers declare what is defined here; these names only it has. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wshadow"

#define malloc guest_malloc
#define calloc guest_calloc
#define realloc guest_realloc
#define free guest_free
#define aligned_alloc guest_aligned_alloc
#define posix_memalign guest_posix_memalign
#define malloc_usable_size guest_malloc_usable_size
#include "guest/heap.c"
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef ALIGN

#define memcpy guest_memcpy
#define memmove guest_memmove
#define mempcpy guest_mempcpy
#define memset guest_memset
#define memcmp guest_memcmp
#define memchr guest_memchr
#define memrchr guest_memrchr
#define strlen guest_strlen
#include "guest/mem.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef memchr
#undef memrchr
#undef strlen

/* ---- Memory ---- */

static void test_copies_are_those_of_the_c_library(void)
{
    enum { SIZE = 1200 };
    static unsigned char a[SIZE], b[SIZE], fresh[SIZE];
    uint64_t random = 1;

    for (int i = 0; i < SIZE; i++)
        fresh[i] = (unsigned char)next_random(&random);
    for (int i = 0; i < 60000; i++) {
        size_t size = next_random(&random) % (i % 2 ? 40 : 560);
        size_t from = next_random(&random) % (SIZE - size);
        size_t to = next_random(&random) % (SIZE - size);
        if (i % 3 == 0 && from + 8 + size < SIZE)
            to = from + next_random(&random) % 8; /* overlaps */
        memcpy(a, fresh, SIZE);
        memcpy(b, fresh, SIZE);
        memmove(a + to, a + from, size);
        CHECK(guest_memmove(b + to, b + from, size) == b + to);
        CHECK(memcmp(a, b, SIZE) == 0);
        memset(a + from, i, size);
        guest_memset(b + from, i, size);
        CHECK(memcmp(a, b, SIZE) == 0);
        guest_memcpy(b + to, fresh + from, size);
        memcpy(a + to, fresh + from, size);
        CHECK(memcmp(a, b, SIZE) == 0);
        int c = (int)(next_random(&random) & 0xff);
        CHECK(guest_memchr(a + to, c, size) == memchr(a + to, c, size));
    }
}

static int sign(int x) { return (x > 0) - (x < 0); }

static void test_comparisons_are_those_of_the_c_library(void)
{
    unsigned char a[72], b[72];
    uint64_t random = 2;

    for (int i = 0; i < 50000; i++) {
        size_t size = next_random(&random) % sizeof(a);
        for (size_t j = 0; j < sizeof(a); j++)
            a[j] = b[j] = (unsigned char)(next_random(&random) % 256);
        if (size != 0 && i % 4)
            b[next_random(&random) % size] ^=
                (unsigned char)(next_random(&random) % 256);
        CHECK(sign(guest_memcmp(a, b, size)) == sign(memcmp(a, b, size)));
        _Alignas(8) char text[80] = {0};
        memset(text + i % 8, 'x', size);
        CHECK(guest_strlen(text + i % 8) == size);
    }
}

/* ---- The heap ---- */

enum { SLOTS = 200, HEAP = 1 << 20 };

static _Alignas(4096) char heap[HEAP];

struct slot {
    unsigned char *memory;
    size_t size;
    unsigned char byte;
};

static void check_slot(const struct slot *slot)
{
    for (size_t i = 0; i < slot->size; i++)
        CHECK(slot->memory[i] == slot->byte);
}

/* H1 to H5, block by block. */
static void check_heap(void)
{
    size_t below = 0, listed = 0, free_blocks = 0;
    bool was_free = false;

    for (char *p = start; p < top; p += size_of(at(p))) {
        CHECK(at(p)->below == below);
        CHECK((at(p)->marked & MARK) == IN_USE || is_free(at(p)));
        CHECK(!(was_free && is_free(at(p))));
        was_free = is_free(at(p));
        free_blocks += was_free;
        below = size_of(at(p));
    }
    CHECK(last == below && !was_free);
    for (unsigned p = 0; p < POWERS; p++) {
        CHECK(!!(classes >> p & 1) == (lists[p] != 0));
        for (unsigned s = 0; s < STEPS; s++) {
            CHECK(!!(lists[p] >> s & 1) == (bins[p][s] != NULL));
            for (struct block *b = bins[p][s]; b; b = b->next, listed++)
                CHECK(is_free(b));
        }
    }
    CHECK(listed == free_blocks);
    for (char *p = fresh; p < heap + HEAP; p++)
        CHECK(*p == 0);
}

static void fill(struct slot *slot, uint64_t *random)
{
    slot->byte = (unsigned char)next_random(random);
    memset(slot->memory, slot->byte, slot->size);
}

static void step(struct slot *slot, uint64_t *random)
{
    size_t size =
        next_random(random) % (next_random(random) % 8 ? 200 : 30000);
    size_t alignment = (size_t)1 << next_random(random) % 13;

    if (slot->memory && next_random(random) % 3 == 0) {
        unsigned char *moved = guest_realloc(slot->memory, size);
        if (!moved)
            return;
        struct slot old = {moved, size < slot->size ? size : slot->size,
                           slot->byte};
        check_slot(&old);
        *slot = (struct slot){moved, size, 0};
        fill(slot, random);
        return;
    }
    if (slot->memory) {
        guest_free(slot->memory);
        slot->memory = NULL;
        slot->size = 0;
        return;
    }
    uint64_t kind = next_random(random) % 3;
    slot->size = 0;
    slot->memory = kind == 0   ? guest_malloc(size)
                   : kind == 1 ? guest_calloc(1, size)
                               : guest_aligned_alloc(alignment, size);
    if (!slot->memory)
        return;
    CHECK((uintptr_t)slot->memory % (kind == 2 ? alignment : 16) == 0);
    slot->size = size;
    CHECK(guest_malloc_usable_size(slot->memory) >= size);
    slot->byte = 0;
    if (kind == 1)
        check_slot(slot);
    fill(slot, random);
}

static void test_a_heap_under_random_use(void)
{
    static struct slot slots[SLOTS];
    uint64_t random = 3;

    CHECK(setjmp(aborted) == 0);
    memset(heap, 0, HEAP);
    hl_heap_init(heap, HEAP);
    for (int i = 0; i < 60000; i++) {
        struct slot *slot = &slots[next_random(&random) % SLOTS];
        check_slot(slot);
        step(slot, &random);
        if (i % 500 == 0)
            check_heap();
    }
    for (int i = 0; i < SLOTS; i++) {
        check_slot(&slots[i]);
        guest_free(slots[i].memory);
    }
    check_heap();
    CHECK(top == start && classes == 0);
}

static void test_a_heap_says_no(void)
{
    CHECK(setjmp(aborted) == 0);
    memset(heap, 0, HEAP);
    hl_heap_init(heap, HEAP);
    CHECK(!guest_malloc(HEAP) && !guest_malloc(SIZE_MAX));
    CHECK(!guest_malloc(SIZE_MAX - 8) && !guest_calloc(SIZE_MAX, 2));
    CHECK(!guest_aligned_alloc(SIZE_MAX / 2 + 1, SIZE_MAX / 2));
    CHECK(!guest_aligned_alloc(24, 8));
    void *all = guest_malloc(HEAP - 16);
    CHECK(all && !guest_malloc(0));
    CHECK(!guest_realloc(all, HEAP));
    guest_free(all);
    CHECK(top == start);
}

/* True if the runtime would have ended the guest. */
static bool aborts(void (*function)(char *memory), char *memory)
{
    if (setjmp(aborted) != 0)
        return true;
    function(memory);
    return false;
}

static void release_it(char *memory) { guest_free(memory); }

static void test_a_heap_notices_misuse(void)
{
    memset(heap, 0, HEAP);
    hl_heap_init(heap, HEAP);
    char *a = guest_malloc(24), *b = guest_malloc(24), *c = guest_malloc(24);
    CHECK(c);
    CHECK(aborts(release_it, a + 8) && aborts(release_it, a + 16));
    CHECK(aborts(release_it, heap + HEAP) && aborts(release_it, heap));
    a[32] = 1;
    CHECK(aborts(release_it, a));
    a[32] = 48;
    CHECK(!aborts(release_it, b));
    CHECK(aborts(release_it, b));
}

int main(void)
{
    RUN(test_copies_are_those_of_the_c_library);
    RUN(test_comparisons_are_those_of_the_c_library);
    RUN(test_a_heap_under_random_use);
    RUN(test_a_heap_says_no);
    RUN(test_a_heap_notices_misuse);
    return 0;
}
