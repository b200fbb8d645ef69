/* A guest ABI as CONTRIBUTING.md says: the native one under another name. */
#include "abi/abi.h"

static bool takes(const struct hl_image *image) { return image != NULL; }

static int start(const struct hl_abi_config *config, struct hl_vm_config *vm,
                 struct hl_vm_regs *regs, struct hl_abi **out, char *why)
{
    return hl_abi_native.start(config, vm, regs, out, why);
}

static void end(struct hl_abi *abi) { hl_abi_native.end(abi); }

static void begin(struct hl_abi *abi, struct hl_vm_regs *regs)
{
    hl_abi_native.begin(abi, regs);
}

static enum hl_left step(struct hl_abi *abi, struct hl_vm *vm,
                         const struct hl_exit *exit)
{
    return hl_abi_native.step(abi, vm, exit);
}

static struct hl_call *messages(struct hl_abi *abi)
{
    return hl_abi_native.messages(abi);
}

static struct hl_span scratch(const struct hl_abi *abi)
{
    return hl_abi_native.scratch(abi);
}

const struct hl_abi_ops hl_abi_dummy = {
    .name = "dummy",
    .takes = takes,
    .start = start,
    .end = end,
    .begin = begin,
    .step = step,
    .messages = messages,
    .scratch = scratch,
};
