#include "abi/linux/linux.h"

#include <stdlib.h>
#include <string.h>

#include "abi/linux/bake.h"
#include "abi/linux/clock.h"
#include "abi/linux/signals.h"
#include "abi/linux/stack.h"
#include "os/others.h"
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
    if (!c->image.elf->is_program ||
        (c->interpreter.file && !c->interpreter.elf->is_program))
        return hl_why(why, -EINVAL, "it was not read as a program");
    if (c->image.elf->interpreter_size && c->interpreter.file == NULL)
        return hl_why(why, -EINVAL, "its interpreter is missing");
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

static void end(struct hl_abi *abi)
{
    struct hl_linux *l = of(abi);

    for (size_t i = 0; i < HL_ARRAY_SIZE(l->output); i++)
        free(l->output[i].bytes);
    free(l->answer.bytes);
    free(l->files.contents);
    free(l->finer);
    free(l->patches);
    free(l);
}

static struct hl_linux *make(const struct hl_abi_config *c,
                             const struct hl_vm_config *vm)
{
    struct hl_linux *l = calloc(1, sizeof *l);

    if (l == NULL)
        return NULL;
    l->window = c->window;
    l->arena = c->heap;
    l->stack_size = c->stack.size;
    l->output_limit = OUTPUT_LIMIT;
    l->calls_limit = UINT64_MAX;
    l->began = hl_now();
    hl_linux_begin(l, hl_vm_host(vm, c->kernel.addr, c->kernel.size),
                   file_pages(c->kernel.size));
    return l;
}

static int start(const struct hl_abi_config *c, struct hl_vm_config *vm,
                 struct hl_vm_regs *regs, struct hl_abi **out, char *why)
{
    struct hl_image interpreter = c->interpreter;
    uint64_t rsp;

    int err = check(c, vm, why);
    if (err < 0)
        return err;
    struct hl_linux *l = make(c, vm);
    if (l == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    err = hl_load_image(&c->image, vm, why);
    if (err == 0 && interpreter.file)
        err = hl_linux_load_interpreter(l, &interpreter, why);
    if (err == 0)
        err = hl_linux_fill_stack(c, vm, interpreter.base, &rsp, why);
    if (err < 0) {
        end(&l->head);
        return err;
    }
    vm->system_calls = true;
    const struct hl_image *first = interpreter.file ? &interpreter : &c->image;
    *regs = (struct hl_vm_regs){
        .rip = first->base + first->elf->entry,
        .rflags = RFLAGS_FIXED,
    };
    regs->gpr[HL_RSP] = rsp;
    *out = &l->head;
    return 0;
}

/* B2: what is written for a run is in the guest when it asks for it. */
static void begin(struct hl_abi *abi, struct hl_vm_regs *regs)
{
    struct hl_linux *l = of(abi);
    struct hl_linux_process *p = l->process;

    (void)regs;
    l->answer.size = l->written = 0;
    l->calls = 0;
    l->answered = l->listens = l->has_output = false;
    l->limit = HL_LINUX_NO_LIMIT;
    if (!l->is_asked)
        return;
    hl_window_own(&l->window, p, HL_LINUX_PAGE);
    p->talk = HL_LINUX_ASKED;
    p->request_at = 0;
    p->waits_from = hl_now();
    l->is_asked = false;
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

/* The code is as the program has it.  Nobody was told that it was not: so it
 * is whenever memory is compared, or put into a snapshot. */
static void take_patches_back(struct hl_linux *l)
{
    while (l->patch_count > l->trusted_patches) {
        char *code = code_at(l, l->patches[--l->patch_count]);
        memcpy(code, system_call, sizeof system_call);
    }
}

static void restored(struct hl_abi *abi)
{
    struct hl_linux *l = of(abi);

    take_patches_back(l);
    l->end = HL_LINUX_RUNS;
    l->limit = HL_LINUX_NO_LIMIT;
    l->ask = (struct hl_linux_ask){0};
    l->refusal = 0;
    l->answered_node = 0;
    l->answered = l->listens = false;
    memset(l->refused, 0, sizeof l->refused);
}

/* What the call that was served last means for the machine. */
static enum hl_left left_by(struct hl_linux *l)
{
    const bool answered = l->answered, said = l->has_output && l->streams;

    l->answered = l->has_output = false;
    if (l->limit != HL_LINUX_NO_LIMIT)
        return HL_LEFT_LIMIT;
    if (l->end != HL_LINUX_RUNS)
        return HL_LEFT_EXITED;
    if (answered)
        return HL_LEFT_READY;
    return said ? HL_LEFT_OUTPUT : HL_LEFT_SERVED;
}

static enum hl_left serve(struct hl_linux *l, struct hl_vm *vm)
{
    l->vm = vm;
    l->regs = vm->ops->regs(vm);
    hl_linux_serve(l);
    l->vm = NULL;
    l->regs = NULL;
    return left_by(l);
}

/* Does it go on with this exchange?  If not, and it is not trusted any more,
 * the next one may begin from another state. */
static enum hl_left passed_on(struct hl_linux *l, enum hl_left left)
{
    bool goes_on = left == HL_LEFT_SERVED || left == HL_LEFT_KICKED ||
                   left == HL_LEFT_ASKS || left == HL_LEFT_OUTPUT;

    if (!goes_on && l->process->baked)
        take_patches_back(l);
    return left;
}

static enum hl_left step_on(struct hl_linux *l, struct hl_vm *vm,
                            const struct hl_exit *exit)
{
    if (exit->reason == HL_EXIT_SYSTEM_CALL && vm != NULL) {
        if (exit->value)
            patch(l, exit->value);
        return serve(l, vm);
    }
    if (exit->reason == HL_EXIT_EXCEPTION) {
        l->end = HL_LINUX_SIGNALLED;
        l->number = hl_linux_signal_of(exit->frame.vector);
        return HL_LEFT_EXITED;
    }
    return hl_abi_stopped(exit);
}

static enum hl_left step(struct hl_abi *abi, struct hl_vm *vm,
                         const struct hl_exit *exit)
{
    struct hl_linux *l = of(abi);

    return passed_on(l, step_on(l, vm, exit));
}

/* Slices of waiting: so long may it take until somebody who wants to end the
 * call is heard. */
#define SLICE_NS UINT64_C(5000000)

static void wait_a_while(const struct hl_linux *l)
{
    _Atomic uint32_t nobody_wakes = 0;
    uint64_t until = hl_now() + SLICE_NS;

    uint64_t wakes = hl_linux_wakes_at(l, l->process->alarm_at);
    if (until > wakes)
        until = wakes;
    hl_let_others_run();
    hl_wait(&nobody_wakes, 0, until);
}

/* Whether a call that waits for a request has to wait is known before it is
 * served again: it does if there is none. */
static enum hl_left resume_on(struct hl_linux *l, struct hl_vm *vm)
{
    if (!l->process->waits)
        return HL_LEFT_SERVED;
    l->listens = false;
    enum hl_left left = serve(l, vm);
    if (left != HL_LEFT_SERVED || !l->process->waits)
        return left;
    if (l->ask.node)
        return HL_LEFT_ASKS;
    if (l->listens && l->process->wake_at == HL_LINUX_NEVER)
        return HL_LEFT_READY;
    wait_a_while(l);
    return HL_LEFT_KICKED;
}

static enum hl_left resume(struct hl_abi *abi, struct hl_vm *vm)
{
    struct hl_linux *l = of(abi);

    return passed_on(l, resume_on(l, vm));
}

static int bake(struct hl_abi *abi, struct hl_vm_config *vm)
{
    struct hl_linux *l = of(abi);

    int err = hl_linux_bake(l, vm);
    if (err == 0)
        hl_linux_trust(l);
    return err;
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
    .resume = resume,
    .bake = bake,
    .restored = restored,
    .scratch = scratch,
};
