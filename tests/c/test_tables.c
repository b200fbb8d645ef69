/* The process's tables of ranges and of regions that the handler serves,
 * against a plain array: whatever comes and goes, in whatever order. */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "os/memory.h"
#include "track/fault.h"
#include "track/range.h"
#include "why.h"

#define SLOTS ((size_t)97)
#define ROUNDS 3000
#define NOBODY (-1)

/* What is where, a slot each; and the length of what begins there. */
static int owner[SLOTS];
static size_t length[SLOTS];

static bool is_free(size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++)
        if (owner[i] != NOBODY)
            return false;
    return true;
}

static void note(size_t first, size_t count, int who)
{
    for (size_t i = first; i < first + count; i++)
        owner[i] = who;
    length[first] = who == NOBODY ? 0 : count;
}

static void start_empty(void)
{
    note(0, SLOTS, NOBODY);
    memset(length, 0, sizeof length);
}

/* Where to try next: mostly beside the last place, as addresses come. */
static size_t next_place(uint64_t *random, size_t last)
{
    uint64_t number = next_random(random);

    if (number % 3 == 0)
        return (size_t)(number >> 8) % SLOTS;
    return (last + (number % 3 == 1 ? 1 : SLOTS - 1)) % SLOTS;
}

/* Only their addresses are of interest: nothing is there. */
static const char *address(size_t slot)
{
    return (const char *)((uintptr_t)1 << 40) + slot * 4096;
}

static size_t claimed(void)
{
    size_t count = 0;

    for (size_t i = 0; i < SLOTS; i++)
        count += length[i] > 0;
    return count;
}

static void check_claim(size_t first, size_t count)
{
    char why[HL_WHY_SIZE];
    int err = hl_range_claim(address(first), count * 4096, why);

    CHECK(err == (is_free(first, count) ? 0 : -EEXIST));
    if (err == 0)
        note(first, count, 1);
}

static void check_found(void)
{
    for (size_t i = 0, expected; i < SLOTS; i++) {
        uintptr_t start, end;
        bool found = hl_range_find(address(i) + 7, 1, &start, &end);
        CHECK(found == (owner[i] != NOBODY));
        for (expected = i; found && length[expected] == 0;)
            expected--;
        CHECK(!found || (start == (uintptr_t)address(expected) &&
                         end == start + length[expected] * 4096));
    }
    CHECK(hl_range_count() == claimed());
}

static void ranges_are_as_in_an_array(void)
{
    uint64_t random = 12;
    size_t at = SLOTS / 2;

    start_empty();
    for (int round = 0; round < ROUNDS; round++) {
        size_t count = 1 + (size_t)next_random(&random) % 3;
        at = next_place(&random, at);
        /* Waves: mostly claims, then mostly releases. */
        bool claims = next_random(&random) % 8 < (round / 200 % 2 ? 2 : 6);
        if (claims && at + count <= SLOTS) {
            check_claim(at, count);
        } else {
            hl_range_release(address(at)); /* nothing, if none begins there */
            if (length[at] > 0)
                note(at, length[at], NOBODY);
        }
        check_found();
    }
    for (size_t i = 0; i < SLOTS; i++)
        hl_range_release(address(i));
    CHECK(hl_range_count() == 0);
}

static char *memory;
static struct hl_fault_region regions[SLOTS]; /* by where they begin */
static volatile int served_by;

static void make_writable(uintptr_t addr)
{
    size_t page = hl_page_size();

    CHECK(mprotect((void *)hl_align_down(addr, page), page,
                   PROT_READ | PROT_WRITE) == 0);
}

static bool open_page(struct hl_fault_region *region, uintptr_t addr)
{
    served_by = (int)(region - regions);
    make_writable(addr);
    return true;
}

/* What was there before: faults that are in no region of theirs. */
static void before(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    served_by = NOBODY;
    make_writable((uintptr_t)info->si_addr);
}

static void check_served(size_t slot)
{
    size_t page = hl_page_size();

    served_by = NOBODY - 1;
    *(volatile char *)(memory + slot * page) = 1;
    CHECK(served_by == owner[slot]);
    CHECK(mprotect(memory, SLOTS * page, PROT_READ) == 0);
}

static void add_region(size_t first, size_t count)
{
    size_t page = hl_page_size();

    regions[first] = (struct hl_fault_region){
        .start = (uintptr_t)memory + first * page,
        .end = (uintptr_t)memory + (first + count) * page,
        .signal = SIGSEGV,
        .open_page = open_page,
    };
    CHECK(hl_fault_add(&regions[first]) == 0);
    note(first, count, (int)first);
}

static void regions_are_as_in_an_array(void)
{
    struct sigaction action = {.sa_sigaction = before, .sa_flags = SA_SIGINFO};
    size_t page = hl_page_size(), at = SLOTS / 2;
    uint64_t random = 34;

    start_empty();
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    memory = mmap(NULL, SLOTS * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
                  -1, 0);
    CHECK(memory != MAP_FAILED);
    for (int round = 0; round < ROUNDS; round++) {
        size_t count = 1 + (size_t)next_random(&random) % 3;
        at = next_place(&random, at);
        bool adds = next_random(&random) % 8 < (round / 200 % 2 ? 2 : 6);
        if (adds && at + count <= SLOTS && is_free(at, count)) {
            add_region(at, count);
        } else if (length[at] > 0) {
            hl_fault_remove(&regions[at]);
            note(at, length[at], NOBODY);
        }
        check_served(at);
        check_served((size_t)next_random(&random) % SLOTS);
        for (size_t i = 0; round % 100 == 0 && i < SLOTS; i++)
            check_served(i);
    }
    for (size_t i = 0; i < SLOTS; i++)
        if (length[i] > 0)
            hl_fault_remove(&regions[i]);
    CHECK(munmap(memory, SLOTS * page) == 0);
}

int main(void)
{
    RUN(ranges_are_as_in_an_array);
    RUN(regions_are_as_in_an_array);
    return 0;
}
