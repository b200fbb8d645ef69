/* A driver as CONTRIBUTING.md says, with a tracker of its own: the emulator
 * and `full` under other names. */
#include "vm/driver.h"
#include "vm/emulator/machine.h"

static int collect(struct hl_tracker *t, struct hl_pages *dirty)
{
    return hl_track_full.collect(t, dirty);
}

static void arm(struct hl_tracker *t, const struct hl_pages *pages)
{
    hl_track_full.arm(t, pages);
}

static int arm_first(struct hl_tracker *t, struct hl_pages *touched)
{
    return hl_track_full.arm_first(t, touched);
}

static void disarm(struct hl_tracker *t, struct hl_run run)
{
    hl_track_full.disarm(t, run);
}

static void close_own(struct hl_tracker *t, bool forked)
{
    hl_track_full.close(t, forked);
}

static const struct hl_tracker_ops own = {
    .name = "dummy-own",
    .collect = collect,
    .arm = arm,
    .leave_unarmed = arm,
    .arm_first = arm_first,
    .disarm = disarm,
    .close = close_own,
};

static int open_own(struct hl_vm *vm, void *memory, size_t page_count,
                    struct hl_tracker **out, char *why)
{
    int err = hl_track_full.open(memory, page_count, out, why);

    (void)vm;
    if (err == 0)
        (*out)->ops = &own;
    return err;
}

static const struct hl_vm_tracker trackers[] = {{&own, open_own}};

static int create(const struct hl_vm_config *config, struct hl_vm **out,
                  char *why)
{
    return hl_driver_emulator.create(config, out, why);
}

static void destroy(struct hl_vm *vm) { hl_driver_emulator.destroy(vm); }

static struct hl_vm_regs *registers(struct hl_vm *vm)
{
    return hl_driver_emulator.regs(vm);
}

static int run(struct hl_vm *vm, struct hl_exit *exit)
{
    return hl_driver_emulator.run(vm, exit);
}

static void kick(struct hl_vm *vm) { hl_driver_emulator.kick(vm); }

static void code_changed(struct hl_vm *vm)
{
    hl_driver_emulator.code_changed(vm);
}

static int save(struct hl_vm *vm, void *state)
{
    return hl_driver_emulator.save(vm, state);
}

static int load(struct hl_vm *vm, const void *state)
{
    return hl_driver_emulator.load(vm, state);
}

const struct hl_driver_ops hl_driver_dummy = {
    .name = "dummy",
    .is_boundary = true, /* or it warns */
    .trackers = trackers,
    .tracker_count = HL_ARRAY_SIZE(trackers),
    .create = create,
    .destroy = destroy,
    .regs = registers,
    .run = run,
    .kick = kick,
    .code_changed = code_changed,
    .state_size = sizeof(struct hl_emulator_state),
    .save = save,
    .load = load,
};
