/* emulator: the same guests on the Unicorn library, where there is no KVM.
 *
 * Unicorn does not deliver exceptions through an IDT, and says which page was
 * missing only where it is asked for each translation.  So this driver answers
 * those itself, from the list of regions, and makes up what the exception
 * stubs would have reported; of the tables it uses the GDT, to get to CPL 3.
 *
 *  E1. A guest's code runs at CPL 3: it is entered by an IRETQ at CPL 0 in a
 *      page that only `entering` makes reachable.  A stop leaves it at CPL 3;
 *      only a saved context goes back to CPL 0.
 *  E2. `entering` ends as the first block behind the IRETQ begins, and what
 *      Unicorn has cached of translations goes with it.
 *  E3. After a stop Unicorn executes what is left of the block.  So what the
 *      guest has when it calls is recorded at once, and until it goes on no
 *      access to memory succeeds: nothing that is executed counts.
 *  E4. Only instructions that vm/emulator/insn.h accepts are executed.  Each
 *      block is examined once, when it has been translated; one that holds
 *      another instruction is not run, but translated again with a halt in
 *      front of it, since the code before it may leave for another reason.
 *      All translations are dropped at the end of a run that met one.
 *  E5. Nothing is translated that could overflow Unicorn's table of
 *      temporaries, which it does not check, and Unicorn halts in front of
 *      instructions that would make it abort: each page of code is examined
 *      before any of it is translated.
 *
 * A call costs some 60 us, a machine a few ms and some MiB. */
#include "vm/emulator/machine.h"

#include <stdlib.h>
#include <string.h>

#include "os/memory.h"
#include "os/wait.h"
#include "vm/emulator/insn.h"
#include "vm/slots.h"

#define SLICE_NS UINT64_C(10000000) /* until run() looks for signals */
#define TCG_BUFFER (8u << 20) /* of translated code; its default is 1 GiB */
#define CR0_NE (UINT64_C(1) << 5)

/* The control word after FNINIT or a reset; Unicorn starts with single
 * precision instead. */
#define FPU_CONTROL 0x37f
#define FPU_EMPTY 0xffff
#define MXCSR_RESET 0x1f80

/* Making and ending machines. */

static int set_up(struct hl_emulator *e)
{
    const struct hl_uc_library *uc = e->uc;
    const struct hl_x86_tables *t = &e->config.tables;
    struct hl_uc_mmr gdtr = {0, t->gdt, (uint32_t)t->gdt_limit, 0};
    uint64_t selector = HL_X86_KERNEL_CODE, cr0 = 0;

    int err = uc->open(HL_UC_ARCH_X86, HL_UC_MODE_64, &e->engine);
    if (err)
        return err;
    (void)uc->ctl(e->engine, HL_UC_CTL_TCG_BUFFER_SIZE, TCG_BUFFER);
    /* No address is special: it would be a place to stop at. */
    err = uc->ctl(e->engine, HL_UC_CTL_USE_EXITS, 1);
    if (err == 0)
        err = uc->ctl(e->engine, HL_UC_CTL_TLB_TYPE, HL_UC_TLB_VIRTUAL);
    for (size_t i = 0; i < e->config.slot_count && err == 0; i++) {
        const struct hl_vm_slot *s = &e->config.slots[i];
        err = uc->mem_map_ptr(e->engine, s->addr, s->size, HL_UC_PROT_ALL,
                              s->host);
    }
    if (err == 0)
        err = hl_emulator_add_hooks(e);
    if (err == 0)
        err = uc->reg_write(e->engine, HL_UC_GDTR, &gdtr);
    (void)uc->reg_read(e->engine, HL_UC_CR0, &cr0);
    cr0 |= CR0_NE; /* else errors of the x87 are somebody else's interrupt */
    if (err == 0)
        err = uc->reg_write(e->engine, HL_UC_CR0, &cr0);
    e->entering = true;
    if (err == 0)
        err = uc->reg_write(e->engine, HL_UC_CS, &selector);
    selector = HL_X86_KERNEL_DATA;
    if (err == 0)
        err = uc->reg_write(e->engine, HL_UC_SS, &selector);
    e->entering = false;
    if (err == 0)
        err = uc->context_alloc(e->engine, &e->pristine);
    return err ? err : uc->context_save(e->engine, e->pristine);
}

static void destroy(struct hl_vm *vm)
{
    struct hl_emulator *e = (struct hl_emulator *)vm;

    if (e->pristine)
        (void)e->uc->context_free(e->pristine);
    if (e->engine)
        (void)e->uc->close(e->engine);
    free(e->vetted);
    free(e);
}

static int create(const struct hl_vm_config *config, struct hl_vm **out,
                  char *why)
{
    /* Regions are whole pages of the guest's, and the host's trackers, which
     * find its writes, have whole pages of the host's. */
    if (hl_page_size() != HL_INSN_PAGE)
        return hl_why(why, -ENOTSUP,
                      "guests have pages of 4 KiB, and this system's have %zu",
                      hl_page_size() >> 10);
    const struct hl_uc_library *uc = hl_uc_load(why);
    if (uc == NULL)
        return -ENOENT;
    int err = hl_uc_has_room(TCG_BUFFER, why);
    if (err < 0)
        return err;
    struct hl_emulator *e = calloc(1, sizeof *e);
    if (e == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    e->vm.ops = &hl_driver_emulator;
    e->uc = uc;
    e->config = *config;
    e->suspect_block = e->halt = HL_EMULATOR_NOWHERE;
    e->every = 1;
    e->vetted = calloc(hl_emulator_code_pages(e) / 64 + 1, sizeof *e->vetted);
    if (e->vetted == NULL) {
        destroy(&e->vm);
        return hl_why(why, -ENOMEM, "out of memory");
    }
    err = set_up(e);
    if (err) {
        (void)hl_why(why, 0, "Unicorn: %s", uc->strerror(err));
        destroy(&e->vm);
        return -ENOTSUP;
    }
    hl_emulator_record(e);
    e->state.fs_base = config->fs_base;
    e->state.fpcw = FPU_CONTROL;
    e->state.fptag = FPU_EMPTY;
    e->state.mxcsr = MXCSR_RESET;
    e->loaded = true;
    e->regs = (struct hl_vm_regs){.rflags = 2};
    *out = &e->vm;
    return 0;
}

static struct hl_vm_regs *registers(struct hl_vm *vm)
{
    return &((struct hl_emulator *)vm)->regs;
}

static int set_thread(struct hl_vm *vm, uint64_t base)
{
    struct hl_emulator *e = (struct hl_emulator *)vm;

    e->state.fs_base = base;
    return e->loaded || e->uc->reg_write(e->engine, HL_UC_FS_BASE, &base) == 0
               ? 0
               : -EIO;
}

/* Running. */

/* E1: have the next instruction be the one that goes to CPL 3, with the state
 * that was loaded. */
static int prepare(struct hl_emulator *e)
{
    const struct hl_x86_tables *t = &e->config.tables;
    uint64_t frame[] = {e->regs.rip, HL_X86_USER_CODE, e->regs.rflags,
                        e->regs.gpr[HL_RSP], HL_X86_USER_DATA};
    uint64_t rsp = t->stack + t->stack_size - sizeof frame;

    int err = e->uc->context_restore(e->engine, e->pristine);
    if (err == 0)
        err = hl_emulator_replay(e);
    if (err == 0)
        err = e->uc->reg_write(e->engine, hl_emulator_gpr(HL_RSP), &rsp);
    if (err)
        return err;
    memcpy(hl_vm_host(&e->config, rsp, sizeof frame), frame, sizeof frame);
    e->entering = true;
    e->loaded = false;
    return 0;
}

/* What stopped it without a hook having said so. */
static void explain(struct hl_emulator *e, int err)
{
    if (e->left)
        return;
    if (hl_emulator_is_halt(e, hl_emulator_reg(e, HL_UC_RIP)) ||
        err == HL_UC_ERR_INSN_INVALID)
        hl_emulator_leave_by_instruction(e);
    else if (err == HL_UC_ERR_EXCEPTION)
        hl_emulator_leave_by_fault(e, hl_emulator_reg(e, HL_UC_RIP));
    else if (err)
        hl_emulator_leave(e, HL_EXIT_UNKNOWN, (uint64_t)err);
    else
        hl_emulator_leave(e, HL_EXIT_UNKNOWN, 0);
}

/* E4: all translations are dropped, and there is a halt, or there is none. */
static void set_halt(struct hl_emulator *e, uint64_t addr)
{
    e->suspect_block = HL_EMULATOR_NOWHERE;
    e->halt = addr;
    hl_emulator_set_halts(e);
    (void)e->uc->ctl(e->engine, HL_UC_CTL_TB_FLUSH);
}

static void run_guest(struct hl_emulator *e)
{
    uint64_t rip = e->entering ? e->config.tables.iret : e->regs.rip;
    int err;

    for (;;) {
        e->again = false;
        err = e->uc->emu_start(e->engine, rip, 0, 0, 0);
        if (!e->again || e->left)
            break;
        rip = hl_emulator_reg(e, HL_UC_RIP);
        set_halt(e, e->suspect);
    }
    explain(e, err);
    e->entering = false;
    if (e->exit.reason != HL_EXIT_CALL &&
        e->exit.reason != HL_EXIT_SYSTEM_CALL)
        e->regs.rip = hl_emulator_reg(e, HL_UC_RIP);
    if (e->suspect_block != HL_EMULATOR_NOWHERE ||
        e->halt != HL_EMULATOR_NOWHERE)
        set_halt(e, HL_EMULATOR_NOWHERE);
}

static int run(struct hl_vm *vm, struct hl_exit *exit)
{
    struct hl_emulator *e = (struct hl_emulator *)vm;

    if (atomic_exchange(&e->kicked, false)) {
        *exit = (struct hl_exit){.reason = HL_EXIT_KICKED};
        return 0;
    }
    e->looked = hl_now();
    e->slice_end = e->looked + SLICE_NS;
    e->left = false;
    if (e->loaded && prepare(e))
        return -EIO;
    run_guest(e);
    *exit = e->exit;
    if (exit->reason == HL_EXIT_KICKED)
        atomic_store(&e->kicked, false);
    return 0;
}

static void kick(struct hl_vm *vm)
{
    atomic_store(&((struct hl_emulator *)vm)->kicked, true);
}

static void code_changed(struct hl_vm *vm)
{
    struct hl_emulator *e = (struct hl_emulator *)vm;

    memset(e->vetted, 0,
           (hl_emulator_code_pages(e) / 64 + 1) * sizeof *e->vetted);
    e->halt_count = 0;
    hl_emulator_set_halts(e);
    (void)e->uc->ctl(e->engine, HL_UC_CTL_TB_FLUSH);
    (void)e->uc->ctl(e->engine, HL_UC_CTL_TLB_FLUSH);
}

static int save(struct hl_vm *vm, void *state)
{
    struct hl_emulator *e = (struct hl_emulator *)vm;

    if (!e->loaded)
        hl_emulator_record(e);
    e->state.regs = e->regs;
    memcpy(state, &e->state, sizeof e->state);
    return 0;
}

static int load(struct hl_vm *vm, const void *state)
{
    struct hl_emulator *e = (struct hl_emulator *)vm;

    memcpy(&e->state, state, sizeof e->state);
    e->regs = e->state.regs;
    e->loaded = true;
    return 0;
}

const struct hl_driver_ops hl_driver_emulator = {
    .name = "emulator",
    .host_sees_writes = true,
    .system_calls = true,
    .create = create,
    .destroy = destroy,
    .regs = registers,
    .set_thread = set_thread,
    .run = run,
    .kick = kick,
    .code_changed = code_changed,
    .state_size = sizeof(struct hl_emulator_state),
    .save = save,
    .load = load,
};
