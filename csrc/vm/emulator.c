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
 *
 * A call costs some 60 us, a machine a few ms and some MiB.  No AVX. */
#include "vm/emulator.h"

#include <stdlib.h>
#include <string.h>

#include "mem/wait.h"

#define PAGE ((uint64_t)4096)
#define HOLE (UINT64_C(1) << 51)    /* no slot's */
#define SLICE_NS UINT64_C(10000000) /* until run() looks for signals */
#define CLOCK_EVERY 256             /* blocks */
#define TCG_BUFFER (8u << 20) /* of translated code; its default is 1 GiB */

#define VECTOR_UNDEFINED 6
#define VECTOR_PROTECTION 13
#define VECTOR_PAGE_FAULT 14
#define CR0_NE (UINT64_C(1) << 5)
#define ERROR_PRESENT 1
#define ERROR_WRITE 2
#define ERROR_USER 4
#define ERROR_FETCH 16

static void leave(struct hl_emulator *e, enum hl_exit_reason reason,
                  uint64_t value)
{
    if (!e->left)
        e->exit = (struct hl_exit){.reason = reason, .value = value};
    e->left = true;
    (void)e->uc->emu_stop(e->engine);
}

static void leave_by_exception(struct hl_emulator *e, uint64_t vector,
                               uint64_t error, uint64_t cr2)
{
    if (e->left)
        return;
    leave(e, HL_EXIT_EXCEPTION, 0);
    e->exit.cr2 = cr2;
    e->exit.frame = (struct hl_x86_frame){
        .vector = vector,
        .error = error,
        .rip = hl_emulator_reg(e, HL_UC_RIP),
        .cs = HL_X86_USER_CODE,
        .rflags = hl_emulator_reg(e, HL_UC_EFLAGS),
        .rsp = hl_emulator_reg(e, hl_emulator_gpr(HL_RSP)),
        .ss = HL_X86_USER_DATA,
    };
}

static bool in_span(uint64_t addr, uint64_t start, uint64_t size)
{
    return addr >= start && addr - start < size;
}

static void *host_at(const struct hl_emulator *e, uint64_t addr)
{
    for (size_t i = 0; i < e->config.slot_count; i++) {
        const struct hl_vm_slot *s = &e->config.slots[i];
        if (in_span(addr, s->addr, s->size))
            return (char *)s->host + (addr - s->addr);
    }
    return NULL;
}

/* out imm8 or out dx, behind prefixes. */
static uint64_t length_of_out(const struct hl_emulator *e, uint64_t rip)
{
    for (uint64_t length = 1; length < 15; length++) {
        const uint8_t *byte = host_at(e, rip + length - 1);
        if (byte == NULL)
            break;
        if (*byte == 0xe6)
            return length + 1;
        if (*byte == 0xee)
            return length;
    }
    return 1; /* a string instruction, or nothing that anybody knows */
}

static void leave_by_fault(struct hl_emulator *e, uint64_t addr)
{
    bool canonical = (addr + ((uint64_t)1 << 47)) >> 48 == 0;

    if (canonical)
        leave_by_exception(e, VECTOR_PAGE_FAULT, e->refused_error, addr);
    else
        leave_by_exception(e, VECTOR_PROTECTION, 0, 0);
}

/* Callbacks. */

static void on_block(struct hl_uc *engine, uint64_t address, uint32_t size,
                     void *user)
{
    struct hl_emulator *e = user;

    (void)engine;
    (void)size;
    if (e->entering) {
        if (address == e->config.tables.iret)
            return; /* E1: nothing stops it at CPL 0 */
        e->entering = false;
        (void)e->uc->ctl(e->engine, HL_UC_CTL_TLB_FLUSH);
    }
    if (atomic_load_explicit(&e->kicked, memory_order_relaxed) ||
        (++e->blocks % CLOCK_EVERY == 0 && hl_now() >= e->slice_end))
        leave(e, HL_EXIT_KICKED, 0);
}

/* Vectors from 32 on, and 3 and 4, come of instructions only, which the gates
 * of the IDT refuse to CPL 3. */
static void on_interrupt(struct hl_uc *engine, uint32_t vector, void *user)
{
    struct hl_emulator *e = user;

    (void)engine;
    if (vector >= 32)
        leave_by_exception(e, VECTOR_PROTECTION, (uint64_t)vector << 3 | 2, 0);
    else
        leave_by_exception(e, vector, 0, 0);
}

static void on_out(struct hl_uc *engine, uint32_t port, int size,
                   uint32_t value, void *user)
{
    struct hl_emulator *e = user;

    (void)engine;
    (void)value;
    if (e->left)
        return;
    if (port != HL_PORT_GUEST || size != 1) {
        leave_by_exception(e, VECTOR_PROTECTION, 0, 0);
        return;
    }
    leave(e, HL_EXIT_CALL, hl_emulator_reg(e, hl_emulator_gpr(HL_RAX)));
    hl_emulator_record(e);
    e->regs.rip += length_of_out(e, e->regs.rip);
    e->state.regs = e->regs;
    (void)e->uc->ctl(e->engine, HL_UC_CTL_TLB_FLUSH);
}

static uint32_t on_in(struct hl_uc *engine, uint32_t port, int size,
                      void *user)
{
    struct hl_emulator *e = user;

    (void)engine;
    if (port == HL_PORT_GUEST && size == 1)
        leave(e, HL_EXIT_UNKNOWN, 0);
    else
        leave_by_exception(e, VECTOR_PROTECTION, 0, 0);
    return 0;
}

/* Both are switched off: EFER.SCE and the MSRs of SYSENTER are 0. */
static void on_system_call(struct hl_uc *engine, void *user)
{
    (void)engine;
    leave_by_exception(user, VECTOR_UNDEFINED, 0, 0);
}

/* What the page tables would say. */
static unsigned perms_at(const struct hl_emulator *e, uint64_t addr)
{
    const struct hl_x86_tables *t = &e->config.tables;

    for (size_t i = 0; i < e->config.region_count; i++) {
        const struct hl_x86_region *r = &e->config.regions[i];
        if (in_span(addr, r->addr, r->size))
            return r->perms | HL_PERM_READ;
    }
    /* E1: the stack with the frame, the page of the IRETQ, the GDT. */
    if (e->entering && (in_span(addr, t->stack, t->stack_size) ||
                        in_span(addr, t->gdt & ~(PAGE - 1), PAGE)))
        return HL_PERM_READ | HL_PERM_WRITE;
    if (e->entering && in_span(addr, t->iret & ~(PAGE - 1), PAGE))
        return HL_PERM_READ | HL_PERM_EXECUTE;
    return 0;
}

/* What was refused is sent here for its address within the page, which the
 * question for a translation does not hold. */
static bool on_unmapped(struct hl_uc *engine, int type, uint64_t addr,
                        int size, int64_t value, void *user)
{
    struct hl_emulator *e = user;

    (void)engine;
    (void)type;
    (void)size;
    (void)value;
    leave_by_fault(e, e->refused | (addr & (PAGE - 1)));
    return false;
}

static bool on_translate(struct hl_uc *engine, uint64_t addr, int type,
                         struct hl_uc_tlb_entry *entry, void *user)
{
    struct hl_emulator *e = user;
    unsigned perms = perms_at(e, addr), needed = HL_PERM_READ;
    const struct hl_x86_tables *t = &e->config.tables;
    bool supervisors = in_span(addr, t->gdt, t->entry_data + PAGE - t->gdt);
    uint64_t error = ERROR_USER | (perms || supervisors ? ERROR_PRESENT : 0);

    (void)engine;
    if (e->left)
        return false;
    if (type == HL_UC_MEM_WRITE) {
        needed = HL_PERM_WRITE;
        error |= ERROR_WRITE;
    } else if (type == HL_UC_MEM_FETCH) {
        needed = HL_PERM_EXECUTE;
        error |= ERROR_FETCH;
    }
    if (perms & needed) {
        entry->paddr = addr & ~(PAGE - 1);
        entry->perms = HL_UC_PROT_READ |
                       (perms & HL_PERM_WRITE ? HL_UC_PROT_WRITE : 0) |
                       (perms & HL_PERM_EXECUTE ? HL_UC_PROT_EXEC : 0);
        return true;
    }
    e->refused = addr & ~(PAGE - 1);
    e->refused_error = error;
    if (type == HL_UC_MEM_FETCH)
        return false;
    entry->paddr = HOLE;
    entry->perms = HL_UC_PROT_ALL;
    return true;
}

/* Making and ending machines. */

static int add_hooks(struct hl_emulator *e)
{
    const struct {
        int type, instruction;
        void (*callback)(void);
    } hooks[] = {
        {HL_UC_HOOK_BLOCK, 0, (void (*)(void))on_block},
        {HL_UC_HOOK_INTR, 0, (void (*)(void))on_interrupt},
        {HL_UC_HOOK_DATA_UNMAPPED, 0, (void (*)(void))on_unmapped},
        {HL_UC_HOOK_TLB_FILL, 0, (void (*)(void))on_translate},
        {HL_UC_HOOK_INSN, HL_UC_INS_OUT, (void (*)(void))on_out},
        {HL_UC_HOOK_INSN, HL_UC_INS_IN, (void (*)(void))on_in},
        {HL_UC_HOOK_INSN, HL_UC_INS_SYSCALL, (void (*)(void))on_system_call},
        {HL_UC_HOOK_INSN, HL_UC_INS_SYSENTER, (void (*)(void))on_system_call},
    };
    int err = HL_UC_ERR_OK;

    for (size_t i = 0; i < HL_ARRAY_SIZE(hooks) && err == 0; i++) {
        size_t hook;
        void *callback;
        memcpy(&callback, &hooks[i].callback, sizeof callback);
        err = e->uc->hook_add(e->engine, &hook, hooks[i].type, callback, e,
                              (uint64_t)1, (uint64_t)0, hooks[i].instruction);
    }
    return err;
}

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
        err = add_hooks(e);
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
    free(e);
}

static int create(const struct hl_vm_config *config, struct hl_vm **out,
                  char *why)
{
    const struct hl_uc_library *uc = hl_uc_load(why);
    if (uc == NULL)
        return -ENOENT;
    struct hl_emulator *e = calloc(1, sizeof *e);
    if (e == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    e->vm.ops = &hl_driver_emulator;
    e->uc = uc;
    e->config = *config;
    int err = set_up(e);
    if (err) {
        (void)hl_why(why, 0, "Unicorn: %s", uc->strerror(err));
        destroy(&e->vm);
        return -ENOTSUP;
    }
    hl_emulator_record(e);
    e->state.fs_base = config->fs_base;
    e->loaded = true;
    e->regs = (struct hl_vm_regs){.rflags = 2};
    *out = &e->vm;
    return 0;
}

static struct hl_vm_regs *registers(struct hl_vm *vm)
{
    return &((struct hl_emulator *)vm)->regs;
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
    memcpy(host_at(e, rsp), frame, sizeof frame);
    e->entering = true;
    e->loaded = false;
    return 0;
}

/* What stopped it without a hook having said so. */
static void explain(struct hl_emulator *e, int err)
{
    if (e->left)
        return;
    if (err == HL_UC_ERR_INSN_INVALID)
        leave_by_exception(e, VECTOR_UNDEFINED, 0, 0);
    else if (err == HL_UC_ERR_EXCEPTION)
        leave_by_fault(e, hl_emulator_reg(e, HL_UC_RIP));
    else
        leave(e, HL_EXIT_UNKNOWN, (uint64_t)err);
}

static int run(struct hl_vm *vm, struct hl_exit *exit)
{
    struct hl_emulator *e = (struct hl_emulator *)vm;

    if (atomic_exchange(&e->kicked, false)) {
        *exit = (struct hl_exit){.reason = HL_EXIT_KICKED};
        return 0;
    }
    e->slice_end = hl_now() + SLICE_NS;
    e->left = false;
    if (e->loaded && prepare(e))
        return -EIO;
    uint64_t rip = e->entering ? e->config.tables.iret : e->regs.rip;
    explain(e, e->uc->emu_start(e->engine, rip, 0, 0, 0));
    e->entering = false;
    if (e->exit.reason != HL_EXIT_CALL)
        e->regs.rip = hl_emulator_reg(e, HL_UC_RIP);
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

    (void)e->uc->ctl(e->engine, HL_UC_CTL_TB_FLUSH);
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

static int probe(char *why) { return hl_driver_try(&hl_driver_emulator, why); }

const struct hl_driver_ops hl_driver_emulator = {
    .name = "emulator",
    .probe = probe,
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
