/* whp: Microsoft's hypervisor, by the Windows Hypervisor Platform
 * (WinHvPlatform.dll), a feature of Windows that has to be switched on. */
#include <string.h>

#include "vm/whp/machine.h"

static int is_there(const struct hl_whp_calls *calls, char *why)
{
    WHV_CAPABILITY capability = {0};
    UINT32 written = 0;

    HRESULT result =
        calls->get_capability(WHvCapabilityCodeHypervisorPresent, &capability,
                              sizeof capability, &written);
    if (FAILED(result))
        return hl_why(why, hl_whp_errno(result),
                      "WHvGetCapability: error %#lx", (unsigned long)result);
    if (!capability.HypervisorPresent)
        return hl_why(why, -ENODEV,
                      "no hypervisor is running: enable virtualization, and "
                      "the Windows feature 'Windows Hypervisor Platform'");
    return 0;
}

static int create(const struct hl_vm_config *config, struct hl_vm **out,
                  char *why)
{
    char untracked[HL_WHY_SIZE] = "";
    const struct hl_whp_calls *calls = hl_whp_calls(why);
    struct hl_whp *m;

    if (calls == NULL)
        return -ENOENT;
    int err = is_there(calls, why);
    if (err < 0)
        return err;
    if (config->tracker)
        err = hl_whp_probe(calls, untracked);
    if (err == -ENOMEM)
        return hl_why(why, err, "%s", untracked);
    err = hl_whp_make(calls, config, untracked, &m, why);
    if (err < 0)
        return err;
    m->vm.ops = &hl_driver_whp;
    *out = &m->vm;
    return 0;
}

static struct hl_vm_regs *registers(struct hl_vm *vm)
{
    return &hl_whp_of(vm)->regs;
}

static const struct hl_vm_tracker trackers[] = {
    {&hl_whp_dirty_ops, hl_whp_dirty_open},
};

const struct hl_driver_ops hl_driver_whp = {
    .name = "whp",
    .is_boundary = true,
    .pins_memory = true,
    .is_unseen = true,
    .trackers = trackers,
    .tracker_count = HL_ARRAY_SIZE(trackers),
    .create = create,
    .destroy = hl_whp_destroy,
    .regs = registers,
    .run = hl_whp_run,
    .kick = hl_whp_kick,
    .state_size = sizeof(struct hl_whp_state),
    .save = hl_whp_save,
    .load = hl_whp_load,
};
