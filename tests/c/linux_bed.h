/* A program without a machine: memory as a layout gives it, and system calls
 * made by hand.  Every page that a call changed must have been told before
 * (W2), or a restore would leave it. */
#ifndef HL_TESTS_LINUX_BED_H
#define HL_TESTS_LINUX_BED_H

#include <string.h>

#include "abi/linux/linux.h"
#include "check.h"
#include "os/memory.h"
#include "os/wait.h"

#define PAGE HL_LINUX_PAGE
#define CODE UINT64_C(0x400000)
#define DATA UINT64_C(0x600000)
#define ARENA UINT64_C(0x10000000)
#define KERNEL UINT64_C(0x80000000)
#define CODE_PAGES 2
#define DATA_PAGES 8
#define ARENA_PAGES 64
#define FILE_PAGES 40
#define KERNEL_PAGES (hl_linux_kernel_size(FILE_PAGES) / PAGE)
#define PAGES (CODE_PAGES + DATA_PAGES + ARENA_PAGES + KERNEL_PAGES)

struct program {
    char *memory, *copy; /* of what it was after the last check */
    bool told[2048];
    struct hl_vm_config vm;
    struct hl_vm_regs regs;
    struct hl_linux linux_;
};

static inline void written(void *context, const void *host, size_t size)
{
    struct program *p = context;
    size_t at = (size_t)((const char *)host - p->memory);

    CHECK(size > 0 && at + size <= PAGES * PAGE);
    for (size_t page = at / PAGE; page <= (at + size - 1) / PAGE; page++)
        p->told[page] = true;
}

static inline struct program *begin(void)
{
    struct program *p = calloc(1, sizeof *p);
    void *memory;

    CHECK(p && PAGES <= sizeof p->told);
    CHECK(hl_memory_reserve(&hl_anonymous, PAGES * PAGE, true, &memory) == 0);
    p->memory = memory;
    p->copy = calloc(PAGES, PAGE);
    char *data = p->memory + CODE_PAGES * PAGE;
    char *arena = data + DATA_PAGES * PAGE;
    const struct hl_vm_slot slots[] = {
        {p->memory, CODE, CODE_PAGES * PAGE, false},
        {data, DATA, DATA_PAGES * PAGE, true},
        {arena, ARENA, ARENA_PAGES * PAGE, true},
        {arena + ARENA_PAGES * PAGE, KERNEL, KERNEL_PAGES * PAGE, true},
    };
    const struct hl_x86_region regions[] = {
        {CODE, CODE_PAGES * PAGE, HL_PERM_READ | HL_PERM_EXECUTE},
        {DATA, DATA_PAGES * PAGE, HL_PERM_READ | HL_PERM_WRITE},
        {ARENA, ARENA_PAGES * PAGE, HL_PERM_READ | HL_PERM_WRITE},
    };
    memcpy(p->vm.slots, slots, sizeof slots);
    memcpy(p->vm.regions, regions, sizeof regions);
    p->vm.slot_count = HL_ARRAY_SIZE(slots);
    p->vm.region_count = HL_ARRAY_SIZE(regions);
    p->linux_ = (struct hl_linux){
        .head.ops = &hl_abi_linux,
        .window = {&p->vm, written, p},
        .arena = {ARENA, ARENA_PAGES * PAGE},
        .stack_size = 1 << 20,
        .output_limit = 1 << 16,
        .calls_limit = UINT64_MAX,
        .began = hl_now(),
        .regs = &p->regs,
    };
    p->regs.gpr[HL_RSP] = DATA + DATA_PAGES * PAGE;
    p->regs.rip = CODE;
    p->regs.rflags = 2;
    hl_linux_begin(&p->linux_, slots[3].host, FILE_PAGES);
    p->linux_.process->baked = true; /* nothing of it is trusted */
    memcpy(p->copy, p->memory, PAGES * PAGE);
    memset(p->told, 0, sizeof p->told);
    return p;
}

static inline void end(struct program *p)
{
    for (size_t i = 0; i < 2; i++)
        free(p->linux_.output[i].bytes);
    free(p->linux_.answer.bytes);
    free(p->linux_.files.contents);
    hl_memory_release(p->memory, PAGES * PAGE);
    free(p->copy);
    free(p);
}

/* Where the host has what the program has there. */
static inline char *at(const struct program *p, uint64_t addr)
{
    for (size_t i = 0; i < p->vm.slot_count; i++)
        if (addr - p->vm.slots[i].addr < p->vm.slots[i].size)
            return (char *)p->vm.slots[i].host + (addr - p->vm.slots[i].addr);
    CHECK(false);
    return NULL;
}

/* W2.  Looking takes longer than the call, so it may be put off. */
static inline void check_told(struct program *p)
{
    for (size_t page = 0; page < PAGES; page++) {
        const char *now = p->memory + page * PAGE;
        char *was = p->copy + page * PAGE;
        bool changed = memcmp(now, was, PAGE) != 0;
        CHECK(!changed || (p->told[page] && page >= CODE_PAGES));
        if (changed)
            memcpy(was, now, PAGE);
    }
    memset(p->told, 0, sizeof p->told);
}

static inline int64_t make_call(struct program *p, uint64_t number,
                                const uint64_t args[6])
{
    static const int registers[] = {HL_RDI, HL_RSI, HL_RDX, 10, 8, 9};

    for (size_t i = 0; i < HL_ARRAY_SIZE(registers); i++)
        p->regs.gpr[registers[i]] = args[i];
    p->regs.gpr[HL_RAX] = number;
    hl_linux_serve(&p->linux_);
    return (int64_t)p->regs.gpr[HL_RAX];
}

/* What the program itself did before the call is no concern of it. */
static inline int64_t checked_call(struct program *p, uint64_t number,
                                   const uint64_t args[6])
{
    memcpy(p->copy, p->memory, PAGES * PAGE);
    int64_t result = make_call(p, number, args);
    check_told(p);
    return result;
}

#define CALL(p, number, ...)                                                  \
    checked_call(p, number, (const uint64_t[6]){__VA_ARGS__})

#endif
