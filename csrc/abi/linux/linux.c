#include "abi/linux/linux.h"

#include <stdlib.h>
#include <string.h>

#include "abi/linux/signals.h"
#include "abi/linux/stack.h"
#include "os/wait.h"
#include "vm/slots.h"

#define RFLAGS_FIXED 2
#define OUTPUT_LIMIT ((size_t)1 << 20)

static const unsigned char system_call[] = {0x0f, 0x05};
static const unsigned char leaves[] = {0xe6, HL_PORT_SYSTEM_CALL};

static struct hl_linux *of(struct hl_abi *abi)
{
    return (struct hl_linux *)abi;
}

struct hl_linux *hl_linux_of(struct hl_abi *abi)
{
    return abi->ops == &hl_abi_linux ? of(abi) : NULL;
}

/* By name alone: a program's file looks as any other. */
static bool takes(const struct hl_image *image)
{
    (void)image;
    return false;
}

static int check(const struct hl_abi_config *c, const struct hl_vm_config *vm,
                 char *why)
{
    if (!c->image.elf->is_program)
        return hl_why(why, -EINVAL, "it was not read as a program");
    if (c->kernel.size < hl_linux_kernel_size(1) ||
        hl_vm_host(vm, c->kernel.addr, c->kernel.size) == NULL)
        return hl_why(why, -EINVAL, "the layout has no room for the kernel");
    if (hl_vm_host(vm, c->heap.addr, c->heap.size) == NULL ||
        c->heap.addr % HL_LINUX_PAGE || c->heap.size % HL_LINUX_PAGE)
        return hl_why(why, -EINVAL, "the heap is not in any slot");
    return 0;
}

/* As many as there is room for. */
static size_t file_pages(size_t size)
{
    size_t pages = (size - hl_linux_kernel_size(0)) / HL_TREE_PAGE;

    while (hl_linux_kernel_size(pages) > size) /* a bit for each */
        pages--;
    return pages;
}

static int start(const struct hl_abi_config *c, struct hl_vm_config *vm,
                 struct hl_vm_regs *regs, struct hl_abi **out, char *why)
{
    uint64_t rsp;

    int err = check(c, vm, why);
    if (err == 0)
        err = hl_load_image(&c->image, vm, why);
    if (err == 0)
        err = hl_linux_fill_stack(c, vm, &rsp, why);
    if (err < 0)
        return err;
    struct hl_linux *l = calloc(1, sizeof *l);
    if (l == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    l->window = c->window;
    l->arena = c->heap;
    l->stack_size = c->stack.size;
    l->output_limit = OUTPUT_LIMIT;
    l->began = hl_now();
    hl_linux_begin(l, hl_vm_host(vm, c->kernel.addr, c->kernel.size),
                   file_pages(c->kernel.size));
    vm->system_calls = true;
    *regs = (struct hl_vm_regs){
        .rip = c->image.base + c->image.elf->entry,
        .rflags = RFLAGS_FIXED,
    };
    regs->gpr[HL_RSP] = rsp;
    *out = &l->head;
    return 0;
}

static void end(struct hl_abi *abi)
{
    struct hl_linux *l = of(abi);

    for (size_t i = 0; i < HL_ARRAY_SIZE(l->output); i++)
        free(l->output[i].bytes);
    free(l->patches);
    free(l);
}

/* B2: what is written for a run is in no guest memory. */
static void begin(struct hl_abi *abi, struct hl_vm_regs *regs)
{
    (void)abi, (void)regs;
}

static char *code_at(const struct hl_linux *l, uint64_t addr)
{
    if (!hl_window_allows(&l->window, addr, sizeof leaves, HL_PERM_EXECUTE))
        return NULL;
    return hl_vm_host(l->window.vm, addr, sizeof leaves);
}

/* V7: at less cost, from the next time on.  That it is a system call is the
 * guest's word, so it is undone by a restore. */
static void patch(struct hl_linux *l, uint64_t addr)
{
    char *code = code_at(l, addr);

    if (code == NULL || memcmp(code, system_call, sizeof system_call) != 0)
        return;
    if (l->patch_count == l->patch_room) {
        size_t room = l->patch_room ? 2 * l->patch_room : 64;
        uint64_t *more = room <= HL_LINUX_PATCHES
                             ? realloc(l->patches, room * sizeof *more)
                             : NULL;
        if (more == NULL)
            return;
        l->patches = more;
        l->patch_room = room;
    }
    l->patches[l->patch_count++] = addr;
    memcpy(code, leaves, sizeof leaves);
}

static void restored(struct hl_abi *abi)
{
    struct hl_linux *l = of(abi);

    while (l->patch_count > l->trusted_patches) {
        char *code = code_at(l, l->patches[--l->patch_count]);
        memcpy(code, system_call, sizeof system_call);
    }
    l->end = HL_LINUX_RUNS;
    l->too_much = false;
}

void hl_linux_trust(struct hl_linux *l)
{
    l->trusted_patches = l->patch_count;
}

void hl_linux_drop_output(struct hl_linux *l)
{
    l->output[0].size = l->output[1].size = 0;
}

static enum hl_left serve(struct hl_linux *l, struct hl_vm *vm,
                          const struct hl_exit *exit)
{
    if (exit->value)
        patch(l, exit->value);
    l->vm = vm;
    l->regs = vm->ops->regs(vm);
    hl_linux_serve(l);
    l->vm = NULL;
    l->regs = NULL;
    if (l->too_much)
        return HL_LEFT_LIMIT;
    return l->end == HL_LINUX_RUNS ? HL_LEFT_SERVED : HL_LEFT_EXITED;
}

static enum hl_left step(struct hl_abi *abi, struct hl_vm *vm,
                         const struct hl_exit *exit)
{
    struct hl_linux *l = of(abi);

    if (exit->reason == HL_EXIT_SYSTEM_CALL && vm != NULL)
        return serve(l, vm, exit);
    if (exit->reason == HL_EXIT_EXCEPTION) {
        l->end = HL_LINUX_SIGNALLED;
        l->number = hl_linux_signal_of(exit->frame.vector);
        return HL_LEFT_EXITED;
    }
    return hl_abi_stopped(exit);
}

static struct hl_span scratch(const struct hl_abi *abi)
{
    (void)abi;
    return (struct hl_span){0};
}

const struct hl_abi_ops hl_abi_linux = {
    .name = "linux",
    .takes = takes,
    .start = start,
    .end = end,
    .begin = begin,
    .step = step,
    .restored = restored,
    .scratch = scratch,
};
