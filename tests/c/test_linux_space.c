/* brk and mappings of a program, against a byte map of its arena. */
#include "linux_bed.h"

enum { MMAP = 9, MPROTECT, MUNMAP, BRK, MREMAP = 25, MADVISE = 28 };
#define RW 3
#define ANON 0x22 /* private */
#define FIXED 0x10
#define NOREPLACE 0x100000
#define END (ARENA + ARENA_PAGES * PAGE)

static int64_t map(struct program *p, uint64_t size)
{
    return CALL(p, MMAP, 0, size, RW, ANON, UINT64_MAX, 0);
}

static size_t mappings(const struct program *p)
{
    const struct hl_linux_process *k = p->linux_.process;

    for (size_t i = 0; i < k->mapping_count; i++) {
        const struct hl_linux_mapping *m = &k->mappings[i];
        CHECK(m->start < m->end && m->start >= ARENA && m->end <= END);
        CHECK(m->start % PAGE == 0 && m->end % PAGE == 0);
        if (i > 0)
            CHECK(m[-1].end < m->start ||
                  (m[-1].end == m->start &&
                   (m[-1].prot != m->prot || m[-1].shared != m->shared)));
    }
    for (size_t i = k->mapping_count; i < HL_LINUX_MAPPINGS; i++)
        CHECK(k->mappings[i].end == 0);
    return k->mapping_count;
}

static void memory_comes_from_the_end_and_is_zero(void)
{
    struct program *p = begin();
    int64_t a = map(p, PAGE), b = map(p, 3 * PAGE + 1);

    CHECK(a == (int64_t)(END - PAGE) && b == (int64_t)(END - 5 * PAGE));
    CHECK(mappings(p) == 1); /* alike, side by side */
    memset(at(p, (uint64_t)b), 7, 5 * PAGE);
    CHECK(CALL(p, MUNMAP, (uint64_t)b, 4 * PAGE) == 0);
    CHECK(mappings(p) == 1 && *at(p, (uint64_t)a) == 7);
    CHECK(map(p, 2 * PAGE) == b + (int64_t)(2 * PAGE));
    for (uint64_t i = 0; i < 4 * PAGE; i++)
        CHECK(*at(p, (uint64_t)b + i) == 0);
    end(p);
}

static void brk_grows_and_shrinks(void)
{
    struct program *p = begin();

    CHECK(CALL(p, BRK, 0) == (int64_t)ARENA);
    CHECK(CALL(p, BRK, ARENA + 100) == (int64_t)ARENA + 100);
    memset(at(p, ARENA), 5, 2 * PAGE); /* beyond it, too: nobody stops it */
    CHECK(CALL(p, BRK, ARENA + 2 * PAGE) == (int64_t)(ARENA + 2 * PAGE));
    CHECK(CALL(p, BRK, ARENA + PAGE) == (int64_t)(ARENA + PAGE));
    CHECK(*at(p, ARENA) == 5 && *at(p, ARENA + PAGE) == 0);
    CHECK(CALL(p, BRK, END + 1) == (int64_t)(ARENA + PAGE));
    CHECK(CALL(p, BRK, ARENA - 1) == (int64_t)(ARENA + PAGE));
    CHECK(CALL(p, BRK, UINT64_MAX) == (int64_t)(ARENA + PAGE));
    CHECK(CALL(p, MMAP, ARENA + 2 * PAGE, PAGE, RW, ANON | FIXED,
               UINT64_MAX) == (int64_t)(ARENA + 2 * PAGE));
    CHECK(CALL(p, BRK, ARENA + 2 * PAGE + 1) == (int64_t)(ARENA + PAGE));
    CHECK(CALL(p, BRK, ARENA + 2 * PAGE) == (int64_t)(ARENA + 2 * PAGE));
    end(p);
}

static void fixed_places_replace_or_refuse(void)
{
    struct program *p = begin();
    const uint64_t at_ = ARENA + 8 * PAGE;

    CHECK(CALL(p, MMAP, at_, 4 * PAGE, RW, ANON | FIXED, UINT64_MAX) ==
          (int64_t)at_);
    memset(at(p, at_), 9, 4 * PAGE);
    CHECK(CALL(p, MMAP, at_ + PAGE, PAGE, 1, ANON | NOREPLACE, UINT64_MAX) ==
          -EEXIST);
    CHECK(CALL(p, MMAP, at_ + PAGE, PAGE, 1, ANON | FIXED, UINT64_MAX) ==
          (int64_t)(at_ + PAGE));
    CHECK(mappings(p) == 3);
    CHECK(*at(p, at_) == 9 && *at(p, at_ + PAGE) == 0);
    CHECK(*at(p, at_ + 2 * PAGE) == 9);
    CHECK(CALL(p, MMAP, at_ + 1, PAGE, RW, ANON | FIXED, UINT64_MAX) ==
          -EINVAL);
    CHECK(CALL(p, MMAP, END - PAGE, 2 * PAGE, RW, ANON | FIXED, UINT64_MAX) ==
          -ENOMEM);
    CHECK(CALL(p, MMAP, DATA, PAGE, RW, ANON | FIXED, UINT64_MAX) == -ENOMEM);
    CHECK(CALL(p, MMAP, UINT64_MAX - PAGE + 1, PAGE, RW, ANON | FIXED,
               UINT64_MAX) == -ENOMEM);
    /* A wish that cannot be met is not one. */
    CHECK(CALL(p, MMAP, at_, PAGE, RW, ANON, UINT64_MAX) ==
          (int64_t)(END - PAGE));
    CHECK(CALL(p, MMAP, ARENA + 4 * PAGE + 5, PAGE, RW, ANON, UINT64_MAX) ==
          (int64_t)(ARENA + 4 * PAGE));
    end(p);
}

static void nothing_is_executable(void)
{
    struct program *p = begin();
    uint64_t a = (uint64_t)map(p, 2 * PAGE);

    CHECK(CALL(p, MMAP, 0, PAGE, RW | 4, ANON, UINT64_MAX) == -EPERM);
    CHECK(CALL(p, MPROTECT, a, PAGE, 5) == -EPERM);
    CHECK(CALL(p, MPROTECT, DATA, PAGE, 4) == -EPERM);
    CHECK(CALL(p, MPROTECT, CODE, PAGE, 5) == 0);
    CHECK(CALL(p, MPROTECT, CODE, PAGE, RW) == -EACCES);
    CHECK(CALL(p, MPROTECT, DATA, PAGE, 1) == 0);
    CHECK(CALL(p, MPROTECT, DATA, (DATA_PAGES + 1) * PAGE, 1) == -ENOMEM);
    CHECK(CALL(p, MPROTECT, a + PAGE, PAGE, 0) == 0 && mappings(p) == 2);
    CHECK(CALL(p, MPROTECT, a + PAGE, PAGE, RW) == 0 && mappings(p) == 1);
    CHECK(CALL(p, MPROTECT, a, 3 * PAGE, RW) == -ENOMEM);
    CHECK(CALL(p, MPROTECT, a, PAGE, 8) == -EINVAL);
    end(p);
}

static void files_are_not_mapped(void)
{
    struct program *p = begin();

    CHECK(CALL(p, MMAP, 0, PAGE, RW, 2, 0, 0) == -ENODEV);
    CHECK(CALL(p, MMAP, 0, PAGE, RW, 2, 77, 0) == -EBADF);
    CHECK(CALL(p, MMAP, 0, 0, RW, ANON, 0, 0) == -EINVAL);
    CHECK(CALL(p, MMAP, 0, PAGE, RW, 0x20, 0, 0) == -EINVAL);
    CHECK(CALL(p, MMAP, 0, UINT64_MAX, RW, ANON, 0, 0) == -ENOMEM);
    CHECK(CALL(p, MMAP, 0, (uint64_t)1 << 46, 0, ANON, 0, 0) == -ENOMEM);
    end(p);
}

static void remapping_grows_moves_and_shrinks(void)
{
    struct program *p = begin();
    uint64_t a = (uint64_t)map(p, 2 * PAGE); /* at the end: cannot grow */

    memset(at(p, a), 3, 2 * PAGE);
    CHECK(CALL(p, MREMAP, a, 2 * PAGE, 3 * PAGE, 0) == -ENOMEM);
    uint64_t b = (uint64_t)CALL(p, MREMAP, a, 2 * PAGE, 3 * PAGE, 1);
    CHECK(b == END - 5 * PAGE && mappings(p) == 1);
    CHECK(*at(p, b) == 3 && *at(p, b + 2 * PAGE - 1) == 3);
    for (uint64_t i = b + 2 * PAGE; i < END; i++)
        CHECK(*at(p, i) == 0); /* what is new, and where it was */
    CHECK(CALL(p, MREMAP, b, 3 * PAGE, 4 * PAGE, 0) == (int64_t)b);
    CHECK(CALL(p, MREMAP, b, 4 * PAGE, PAGE, 0) == (int64_t)b);
    CHECK(*at(p, b + PAGE) == 0);
    CHECK(CALL(p, MREMAP, b, PAGE, 2 * PAGE, 3, ARENA + PAGE) ==
          (int64_t)(ARENA + PAGE));
    CHECK(*at(p, ARENA + PAGE) == 3 && *at(p, b) == 0);
    CHECK(CALL(p, MREMAP, ARENA + PAGE, 2 * PAGE, 2 * PAGE, 3,
               ARENA + 2 * PAGE) == -EINVAL);
    CHECK(CALL(p, MREMAP, b, PAGE, PAGE, 1) == -EFAULT);
    CHECK(CALL(p, MREMAP, ARENA + PAGE, 0, PAGE, 1) == -EINVAL);
    CHECK(CALL(p, MREMAP, ARENA + PAGE, PAGE, UINT64_MAX, 1) == -ENOMEM);
    end(p);
}

static void advice_drops(void)
{
    struct program *p = begin();
    uint64_t a = (uint64_t)map(p, 2 * PAGE);

    memset(at(p, a), 3, 2 * PAGE);
    CHECK(CALL(p, MADVISE, a, PAGE, 4) == 0);
    CHECK(*at(p, a) == 0 && *at(p, a + PAGE) == 3);
    CHECK(CALL(p, MADVISE, a, PAGE, 14) == 0);
    CHECK(CALL(p, MADVISE, a, PAGE, 99) == -EINVAL);
    CHECK(CALL(p, MADVISE, a, 3 * PAGE, 4) == -ENOMEM);
    CHECK(CALL(p, MADVISE, CODE, PAGE, 4) == -ENOMEM);
    end(p);
}

static void a_full_table_is_an_error(void)
{
    struct program *p = begin();
    struct hl_linux_process *k = p->linux_.process;
    uint64_t a = (uint64_t)map(p, 8 * PAGE);

    for (size_t i = 1; i < HL_LINUX_MAPPINGS; i++) /* none of the arena */
        k->mappings[i] = (struct hl_linux_mapping){
            .start = END + 2 * i * PAGE,
            .end = END + (2 * i + 1) * PAGE,
        };
    k->mapping_count = HL_LINUX_MAPPINGS;
    memset(at(p, a), 3, 8 * PAGE);
    CHECK(CALL(p, MUNMAP, a + PAGE, PAGE) == -ENOMEM);
    CHECK(CALL(p, MPROTECT, a + PAGE, PAGE, 1) == -ENOMEM);
    CHECK(*at(p, a + PAGE) == 3 && k->mapping_count == HL_LINUX_MAPPINGS);
    k->mapping_count -= 2; /* those behind move, in all pages of the table */
    memset(&k->mappings[k->mapping_count], 0, 2 * sizeof *k->mappings);
    CHECK(CALL(p, MUNMAP, a + PAGE, PAGE) == 0);
    CHECK(k->mapping_count == HL_LINUX_MAPPINGS - 1);
    end(p);
}

/* The oracle: one byte for each page of the arena, 0 where nothing is. */
struct oracle {
    unsigned char prot[ARENA_PAGES]; /* 1 + its rights */
    size_t brk;                      /* pages */
};

static void check_oracle(const struct program *p, const struct oracle *o)
{
    const struct hl_linux_process *k = p->linux_.process;
    unsigned char found[ARENA_PAGES] = {0};

    (void)mappings(p);
    for (size_t i = 0; i < k->mapping_count; i++)
        for (uint64_t a = k->mappings[i].start; a < k->mappings[i].end;
             a += PAGE)
            found[(a - ARENA) / PAGE] =
                (unsigned char)(1 + k->mappings[i].prot);
    CHECK(memcmp(found, o->prot, sizeof found) == 0);
    for (size_t i = o->brk; i < ARENA_PAGES; i++) /* L2 */
        for (size_t j = 0; o->prot[i] == 0 && j < PAGE; j += 512)
            CHECK(*at(p, ARENA + i * PAGE + j) == 0);
}

static void set(struct oracle *o, size_t first, size_t count,
                unsigned char value)
{
    for (size_t i = first; i < first + count; i++)
        if (i >= o->brk)
            o->prot[i] = value;
}

static void one_step(struct program *p, struct oracle *o, uint64_t *random)
{
    uint64_t r = next_random(random);
    size_t first = r % ARENA_PAGES, count = 1 + r / 64 % 6;
    uint64_t addr = ARENA + first * PAGE, size = count * PAGE;
    unsigned prot = r >> 20 & 3;

    if (count > ARENA_PAGES - first)
        return;
    switch (r >> 40 & 7) {
    case 0:
    case 1: {
        int64_t got = CALL(p, MMAP, 0, size, prot, ANON, UINT64_MAX);
        if (got < 0)
            break;
        for (size_t i = 0; i < size; i += 64)
            CHECK(*at(p, (uint64_t)got + i) == 0);
        set(o, ((uint64_t)got - ARENA) / PAGE, count,
            (unsigned char)(1 + prot));
        memset(at(p, (uint64_t)got), 1, size);
        break;
    }
    case 2:
        if (CALL(p, MMAP, addr, size, prot, ANON | FIXED, UINT64_MAX) > 0)
            set(o, first, count, (unsigned char)(1 + prot));
        break;
    case 3:
    case 4:
        CHECK(CALL(p, MUNMAP, addr, size) == 0);
        set(o, first, count, 0);
        break;
    case 5:
        if (CALL(p, MPROTECT, addr, size, prot) == 0)
            set(o, first, count, (unsigned char)(1 + prot));
        break;
    case 6: {
        size_t pages = r >> 50 & 7;
        if (CALL(p, BRK, ARENA + pages * PAGE) ==
            (int64_t)(ARENA + pages * PAGE))
            o->brk = pages;
        memset(at(p, ARENA), 2, o->brk * PAGE);
        break;
    }
    default:
        (void)CALL(p, MADVISE, addr, size, 4);
    }
}

static void random_steps_agree_with_the_oracle(void)
{
    uint64_t random = 42;

    for (int round = 0; round < 20; round++) {
        struct program *p = begin();
        struct oracle o = {.brk = 0};
        for (int i = 0; i < 400; i++) {
            one_step(p, &o, &random);
            check_oracle(p, &o);
        }
        end(p);
    }
}

int main(void)
{
    RUN(memory_comes_from_the_end_and_is_zero);
    RUN(brk_grows_and_shrinks);
    RUN(fixed_places_replace_or_refuse);
    RUN(nothing_is_executable);
    RUN(files_are_not_mapped);
    RUN(remapping_grows_moves_and_shrinks);
    RUN(advice_drops);
    RUN(a_full_table_is_an_error);
    RUN(random_steps_agree_with_the_oracle);
    return 0;
}
