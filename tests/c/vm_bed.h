/* A small machine for the tests of drivers: a page of code, of input and of
 * stack, and some of data. */
#ifndef HL_TESTS_VM_BED_H
#define HL_TESTS_VM_BED_H

#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "os/map.h"
#include "vm/driver.h"

#define PAGE ((size_t)4096)
#define CODE ((uint64_t)0x400000)
#define DATA ((uint64_t)0x600000)
#define STACK ((uint64_t)0x7fe000)
#define INPUT ((uint64_t)0x500000)
#define TABLES ((uint64_t)0x10000)

/* The driver, and a tracker of its own, or NULL. */
static const struct hl_driver_ops *ops;
static const struct hl_vm_tracker *own;

/* Whether system calls leave. */
static bool system_calls;

/* Position-independent guests. */
#ifdef _WIN32
#define RODATA ".section .rdata, \"dr\"\n"
#define BACK ".text\n"
#else
#define RODATA ".pushsection .rodata\n"
#define BACK ".popsection\n"
#endif
#define GUEST(name, text)                                                     \
    __asm__(RODATA #name ":\n" text "\n" #name "_end:\n" BACK);               \
    extern const char name[], name##_end[]

struct bed {
    struct hl_map map;
    struct hl_vm *vm;
    char *input, *data;
    uint64_t stub; /* for system calls */
};

static inline struct bed boot(const char *code, const char *end)
{
    struct hl_vm_config config = {
        .regions = {{CODE, PAGE, HL_PERM_READ | HL_PERM_EXECUTE},
                    {INPUT, PAGE, HL_PERM_READ},
                    {DATA, 16 * PAGE, HL_PERM_READ | HL_PERM_WRITE},
                    {STACK, PAGE, HL_PERM_READ | HL_PERM_WRITE}},
        .region_count = 4,
        .slot_count = 5,
        .tracker = own,
        .system_calls = system_calls,
    };
    size_t tables = hl_x86_tables_size(TABLES, config.regions, 4);
    char why[HL_WHY_SIZE] = "";
    struct bed bed;

    CHECK(hl_map_create(&bed.map, tables + 19 * PAGE, HL_HUGE_NEVER) == 0);
    char *memory = bed.map.addr;
    bed.input = memory + tables + PAGE;
    bed.data = bed.input + PAGE;
    const struct hl_vm_slot slots[] = {
        {memory, TABLES, tables, false},
        {memory + tables, CODE, PAGE, false},
        {bed.input, INPUT, PAGE, false},
        {bed.data, DATA, 16 * PAGE, own != NULL},
        {bed.data + 16 * PAGE, STACK, PAGE, own != NULL},
    };
    memcpy(config.slots, slots, sizeof slots);
    CHECK(hl_x86_build(memory, tables, TABLES, config.regions, 4,
                       &config.tables) == 0);
    if (system_calls)
        hl_x86_let_system_calls_leave(memory, TABLES, &config.tables);
    memcpy(memory + tables, code, (size_t)(end - code));
    bed.stub = config.tables.system_call;
    int err = ops->create(&config, &bed.vm, why);
    if (err < 0)
        fprintf(stderr, "%s\n", why);
    CHECK(err == 0);
    struct hl_vm_regs *regs = ops->regs(bed.vm);
    regs->rip = CODE;
    regs->gpr[HL_RSP] = STACK + PAGE;
    return bed;
}

static inline struct hl_exit run(struct bed *bed)
{
    struct hl_exit left;
    do
        CHECK(ops->run(bed->vm, &left) == 0);
    while (left.reason == HL_EXIT_KICKED);
    return left;
}

static inline void describe(struct hl_exit left)
{
    fprintf(stderr,
            "reason %d, value %" PRIu64 ", vector %" PRIu64 ", error %" PRIx64
            ", rip %" PRIx64 ", cr2 %" PRIx64 "\n",
            (int)left.reason, left.value, left.frame.vector, left.frame.error,
            left.frame.rip, left.cr2);
}

/* Run, and expect a call. */
static inline uint64_t call(struct bed *bed)
{
    struct hl_exit left = run(bed);
    if (left.reason != HL_EXIT_CALL)
        describe(left);
    CHECK(left.reason == HL_EXIT_CALL);
    return left.value;
}

static inline void end(struct bed *bed)
{
    ops->destroy(bed->vm);
    hl_map_destroy(&bed->map);
}

/* Counts in its data, and reports each number. */
GUEST(count, "mov $0x600000, %ebx\n"
             "1: incl (%rbx)\n"
             "mov (%rbx), %eax\n"
             "out %al, $0x48\n"
             "jmp 1b");

/* Run tests on every driver that works here.
 * HYPERLIGHT_UNICORN: where the emulator's library is. */
static inline int on_every_driver(void (*tests)(void))
{
    char why[HL_WHY_SIZE] = "";

    hl_emulator_set_library(getenv("HYPERLIGHT_UNICORN"));
    for (size_t i = 0; i < hl_driver_count; i++) {
        ops = hl_drivers[i];
        if (hl_driver_try(ops, NULL, why) < 0) {
            printf("skipped %s: %s\n", ops->name, why);
            continue;
        }
        printf("driver %s:\n", ops->name);
        tests();
        CHECK(hl_map_count() == 0);
    }
    return 0;
}

#endif
