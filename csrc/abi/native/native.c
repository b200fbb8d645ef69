#include "abi/abi.h"

#include <stdlib.h>
#include <string.h>

#include "abi/native/call.h"
#include "os/memory.h"
#include "vm/slots.h"

#define CANARY_AT 0x28
#define INFO_AT 64 /* behind the block's start */

/* The flag that is always set (Intel SDM 1, 3.4.3). */
#define RFLAGS_FIXED 2

struct native {
    struct hl_abi head;
    struct hl_call call;
    uint64_t input_addr;
    struct hl_span output;
};

static struct hl_call *messages(struct hl_abi *abi)
{
    return &((struct native *)abi)->call;
}

static bool takes(const struct hl_image *image)
{
    (void)image;
    return true;
}

static struct hl_guest_info info_of(const struct hl_abi_config *c)
{
    return (struct hl_guest_info){
        .magic = HL_INFO_MAGIC,
        .version = HL_ABI_VERSION,
        .heap = c->heap.addr,
        .heap_size = c->heap.size,
        .input = c->input.addr,
        .input_size = c->input.size,
        .output = c->output.addr,
        .output_size = c->output.size,
        .stack = c->stack.addr,
        .stack_size = c->stack.size,
    };
}

/* [thread-local data][block: itself, ..., canary][info] in c->thread; fills in
 * vm->fs_base, which is the block, and *info_at.
 *
 * x86-64 ELF TLS, variant II (System V ABI for x86-64, 3.4.6; Drepper, "ELF
 * Handling for Thread-Local Storage", 4.4.6): the block is aligned as the data
 * wants it, and the data begins at the block less its size rounded up to its
 * alignment.  What is rounded is a gap at its end, not at its start. */
static int load_thread(const struct hl_abi_config *c, struct hl_vm_config *vm,
                       uint64_t *info_at, char *why)
{
    const struct hl_guest_info info = info_of(c);
    const struct hl_elf *elf = c->image.elf;
    uint64_t tls_align = elf->tls_align ? elf->tls_align : 1;
    uint64_t before = hl_align_up(elf->tls_size, tls_align);
    uint64_t align = tls_align < 64 ? 64 : tls_align;
    uint64_t block = hl_align_up(c->thread.addr + before, align);
    const struct hl_span tls = {c->image.base + elf->tls_addr,
                                elf->tls_file_size};
    const char *from = tls.size ? hl_vm_host(vm, tls.addr, tls.size) : NULL;
    char *host = hl_vm_host(vm, c->thread.addr, c->thread.size);
    uint64_t canary;

    if (host == NULL ||
        block + INFO_AT + sizeof info > c->thread.addr + c->thread.size)
        return hl_why(why, -EINVAL, "the layout has no room for the thread");
    if (tls.size && from == NULL)
        return hl_why(why, -EINVAL, "thread-local data is not in the image");
    int err = hl_random(&canary, sizeof canary);
    if (err < 0)
        return hl_why(why, err, "random bytes: %s", strerror(-err));
    canary &= ~UINT64_C(0xff); /* ends a string that is copied over it */
    char *at = host + (block - c->thread.addr);
    if (tls.size)
        memcpy(at - before, from, tls.size);
    memcpy(at, &block, sizeof block);
    memcpy(at + CANARY_AT, &canary, sizeof canary);
    memcpy(at + INFO_AT, &info, sizeof info);
    vm->fs_base = block;
    *info_at = block + INFO_AT;
    return 0;
}

static int start(const struct hl_abi_config *c, struct hl_vm_config *vm,
                 struct hl_vm_regs *regs, struct hl_abi **out, char *why)
{
    char *input = hl_vm_host(vm, c->input.addr, c->input.size);
    char *output = hl_vm_host(vm, c->output.addr, c->output.size);
    uint64_t info = 0;

    if (input == NULL || output == NULL)
        return hl_why(why, -EINVAL, "a buffer is not in any slot");
    int err = hl_load_image(&c->image, vm, why);
    if (err == 0)
        err = load_thread(c, vm, &info, why);
    if (err < 0)
        return err;
    struct native *n = calloc(1, sizeof *n);
    if (n == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    n->input_addr = c->input.addr;
    n->output = c->output;
    hl_call_init(&n->call, input, c->input.size, output, c->output.size);
    n->call.pinned = c->pinned;
    *regs = (struct hl_vm_regs){
        .rip = c->image.base + c->image.elf->entry,
        .rflags = RFLAGS_FIXED,
    };
    regs->gpr[HL_RSP] = c->stack.addr + c->stack.size - 8;
    regs->gpr[HL_RDI] = info;
    *out = &n->head;
    return 0;
}

static void end(struct hl_abi *abi) { free(abi); }

static void begin(struct hl_abi *abi, struct hl_vm_regs *regs)
{
    struct native *n = (struct native *)abi;

    regs->gpr[HL_RAX] = n->input_addr + hl_call_send(&n->call);
}

static enum hl_left step(struct hl_abi *abi, struct hl_vm *vm,
                         const struct hl_exit *exit)
{
    (void)abi, (void)vm;
    if (exit->reason != HL_EXIT_CALL)
        return hl_abi_stopped(exit);
    if (exit->value < HL_LEAVE_READY || exit->value > HL_LEAVE_ABORT)
        return HL_LEFT_BROKEN;
    return (enum hl_left)exit->value;
}

static struct hl_span scratch(const struct hl_abi *abi)
{
    return ((const struct native *)abi)->output;
}

const struct hl_abi_ops hl_abi_native = {
    .name = "native",
    .takes = takes,
    .start = start,
    .end = end,
    .begin = begin,
    .step = step,
    .messages = messages,
    .scratch = scratch,
};
