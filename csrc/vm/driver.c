#include "vm/driver.h"

#include <string.h>

#include "os/map.h"

/* First those that contain a hostile guest (is_boundary); the emulator does
 * not, but runs everywhere.  Those of other systems are listed, too, with that
 * for a reason (elsewhere.c). */
const struct hl_driver_ops *const hl_drivers[] = {
    &hl_driver_kvm,
    &hl_driver_mshv,
    &hl_driver_whp,
    &hl_driver_emulator,
};
const size_t hl_driver_count = HL_ARRAY_SIZE(hl_drivers);

const struct hl_driver_ops *hl_driver_find(const char *name)
{
    for (size_t i = 0; i < hl_driver_count; i++)
        if (strcmp(hl_drivers[i]->name, name) == 0)
            return hl_drivers[i];
    return NULL;
}

/* The smallest machine that shows what is needed: a page of code, and page
 * tables in a slot of their own, so that a tracker gets the code's alone. */
#define CODE ((uint64_t)1 << 20)
#define TABLES ((uint64_t)2 << 20)
#define PAGE 4096

/* out %al, HL_PORT_GUEST: at CPL 3, which is all that is promised. */
static const unsigned char out_instruction[] = {0xe6, HL_PORT_GUEST};

/* Only an exit by that very instruction is a proof: the tables were walked,
 * CPL 3 was reached, and a guest can get out again.  A device that opens and a
 * machine that is made prove none of it.  A signal to this thread may end a
 * run before that (V4). */
static int run_out_instruction(struct hl_vm *vm, char *why)
{
    struct hl_exit exit;
    int err;

    vm->ops->regs(vm)->rip = CODE;
    do
        err = vm->ops->run(vm, &exit);
    while (err == 0 && exit.reason == HL_EXIT_KICKED);
    if (err < 0)
        return hl_why(why, err, "an instruction did not run: %s",
                      strerror(-err));
    if (exit.reason != HL_EXIT_CALL)
        return hl_why(why, -EIO,
                      "an instruction at CPL 3 did not run: exit %d, vector "
                      "%llu, rip %#llx, cr2 %#llx",
                      (int)exit.reason, (unsigned long long)exit.frame.vector,
                      (unsigned long long)exit.frame.rip,
                      (unsigned long long)exit.cr2);
    return 0;
}

/* A tracker is opened, but nothing is written that it could find: what hosts
 * differ in is whether their kernel has it at all.  It must not outlive its
 * machine, and so is closed first. */
static int try_with(const struct hl_driver_ops *ops,
                    const struct hl_vm_tracker *tracker, char *memory,
                    size_t tables, char *why)
{
    struct hl_vm_config config = {
        .slots = {{memory, CODE, PAGE, tracker != NULL},
                  {memory + PAGE, TABLES, tables, false}},
        .slot_count = 2,
        .regions = {{CODE, PAGE, HL_PERM_READ | HL_PERM_EXECUTE}},
        .region_count = 1,
        .tracker = tracker,
    };
    struct hl_tracker *opened = NULL;
    struct hl_vm *vm;

    memcpy(memory, out_instruction, sizeof out_instruction);
    int err = hl_x86_build(memory + PAGE, tables, TABLES, config.regions, 1,
                           &config.tables);
    if (err < 0)
        return hl_why(why, err, "page tables: %s", strerror(-err));
    err = ops->create(&config, &vm, why);
    if (err < 0)
        return err;
    if (tracker)
        err = tracker->open(vm, memory, 1, &opened, why);
    if (err == 0)
        err = run_out_instruction(vm, why);
    if (opened)
        opened->ops->close(opened, false);
    ops->destroy(vm);
    return err;
}

/* The tables' size follows from the addresses that are mapped, not from the
 * rights to them, which try_with decides. */
int hl_driver_try(const struct hl_driver_ops *ops,
                  const struct hl_vm_tracker *tracker, char *why)
{
    struct hl_x86_region code = {CODE, PAGE, HL_PERM_READ};
    size_t tables = hl_x86_tables_size(TABLES, &code, 1);
    struct hl_map map;

    int err = hl_map_create(&map, PAGE + tables, HL_HUGE_NEVER);
    if (err < 0)
        return hl_why(why, err, "%s: %s", hl_memory_call, strerror(-err));
    err = try_with(ops, tracker, map.addr, tables, why);
    hl_map_destroy(&map);
    return err;
}
