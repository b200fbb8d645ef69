/* Unicorn's callbacks while it runs a guest.  E1 to E5: see run.c. */
#include <stdio.h>
#include <string.h>

#include "inject.h"
#include "os/wait.h"
#include "vm/emulator/insn.h"
#include "vm/emulator/machine.h"
#include "vm/slots.h"

#define PAGE ((uint64_t)4096)
#define HOLE (UINT64_C(1) << 51) /* no slot's */

/* Blocks between two looks at the clock, which costs as much as several of
 * them; and what they may take before there are looks more often. */
#define MOST_BLOCKS 256
#define LONG_NS 500000
#define SHORT_NS 100000

#define ERROR_PRESENT 1
#define ERROR_WRITE 2
#define ERROR_USER 4
#define ERROR_FETCH 16

static bool in_span(uint64_t addr, uint64_t start, uint64_t size)
{
    return addr >= start && addr - start < size;
}

static void describe(struct hl_emulator *e, const char *set,
                     const uint8_t *code, size_t length)
{
    char *to = e->exit.detail;
    int used =
        snprintf(to, HL_EXIT_DETAIL,
                 "an instruction set that the emulator lacks: %s (", set);

    for (size_t i = 0; i < length && used < HL_EXIT_DETAIL; i++)
        used += snprintf(to + used, HL_EXIT_DETAIL - (size_t)used, "%s%02x",
                         i ? " " : "", code[i]);
    if (used < HL_EXIT_DETAIL)
        (void)snprintf(to + used, HL_EXIT_DETAIL - (size_t)used, ")");
}

void hl_emulator_leave_by_instruction(struct hl_emulator *e)
{
    uint8_t code[HL_INSN_MAX];
    struct hl_insn insn;

    if (e->left)
        return;
    hl_emulator_read_instruction(e, hl_emulator_reg(e, HL_UC_RIP), code,
                                 &insn);
    if (insn.verdict == HL_INSN_INTERRUPT)
        hl_emulator_leave_by_exception(e, HL_VECTOR_PROTECTION,
                                       insn.vector << 3 | 2, 0);
    else
        hl_emulator_leave_by_exception(e, HL_VECTOR_UNDEFINED, 0, 0);
    if (insn.verdict == HL_INSN_LACKING)
        describe(e, insn.set, code, insn.length);
}

/* Callbacks. */

static void look_at_clock(struct hl_emulator *e)
{
    uint64_t time = hl_now(), took = time - e->looked;

    e->looked = time;
    if (took > LONG_NS)
        e->every = e->every / 4 + 1;
    else if (took < SHORT_NS && e->every < MOST_BLOCKS)
        e->every *= 2;
    e->until = e->every;
    if (time >= e->slice_end || HL_INJECT(HL_INJECT_SLICE))
        hl_emulator_leave(e, HL_EXIT_KICKED, 0);
}

static void on_block(struct hl_uc *engine, uint64_t address, uint32_t size,
                     void *user)
{
    struct hl_emulator *e = user;

    (void)engine;
    (void)size;
    /* A guest that has not begun could not go on there. */
    if (e->entering && address == e->config.tables.iret)
        return;
    if (e->entering) {
        hl_emulator_replay_selectors(e);
        e->entering = false;
        (void)e->uc->ctl(e->engine, HL_UC_CTL_TLB_FLUSH);
    }
    if (atomic_load_explicit(&e->kicked, memory_order_relaxed)) {
        hl_emulator_leave(e, HL_EXIT_KICKED, 0);
        return;
    }
    if (address == e->suspect_block && !e->left) {
        if (e->suspect == address) {
            hl_emulator_leave_by_instruction(e);
        } else {
            e->again = true;
            (void)e->uc->emu_stop(e->engine);
        }
        return;
    }
    if (e->until-- == 0)
        look_at_clock(e);
}

static void on_translation(struct hl_uc *engine, struct hl_uc_block *made,
                           struct hl_uc_block *before, void *user)
{
    struct hl_emulator *e = user;
    uint64_t where;

    (void)engine;
    (void)before;
    e->until = 0; /* it took a while */
    if (!hl_emulator_is_suspect(e, made, &where))
        return;
    /* One is remembered, and it is executed next, or else all are dropped. */
    if (e->suspect_block != HL_EMULATOR_NOWHERE &&
        e->suspect_block != made->address)
        hl_emulator_leave(e, HL_EXIT_KICKED, 0);
    e->suspect_block = made->address;
    e->suspect = where;
}

/* Vectors from 32 on, and 3 and 4, come of instructions only, which the gates
 * of the IDT refuse to CPL 3. */
static void on_interrupt(struct hl_uc *engine, uint32_t vector, void *user)
{
    struct hl_emulator *e = user;
    uint8_t code[HL_INSN_MAX];
    struct hl_insn insn;
    uint64_t error = 0;

    (void)engine;
    hl_emulator_read_instruction(e, hl_emulator_reg(e, HL_UC_RIP), code,
                                 &insn);
    if (vector >= 32)
        error = (uint64_t)vector << 3 | 2;
    else if (vector >= 10 && vector <= 13 && insn.loads_segment)
        error = hl_emulator_reg(e, hl_emulator_gpr(insn.operand)) & 0xfffc;
    hl_emulator_leave_by_exception(
        e, vector >= 32 ? HL_VECTOR_PROTECTION : vector, error, 0);
}

/* E3 */
static void leave_by_call(struct hl_emulator *e, enum hl_exit_reason reason,
                          uint64_t value, size_t length)
{
    hl_emulator_leave(e, reason, value);
    hl_emulator_record(e);
    e->regs.rip += length;
    e->state.regs = e->regs;
    (void)e->uc->ctl(e->engine, HL_UC_CTL_TLB_FLUSH);
}

/* X5 */
static bool reaches(const struct hl_emulator *e, uint32_t port, int size)
{
    return size == 1 &&
           (port == HL_PORT_GUEST ||
            (port == HL_PORT_SYSTEM_CALL && e->config.system_calls));
}

static void on_out(struct hl_uc *engine, uint32_t port, int size,
                   uint32_t value, void *user)
{
    struct hl_emulator *e = user;
    uint8_t code[HL_INSN_MAX];
    struct hl_insn insn;

    (void)engine;
    (void)value;
    if (e->left)
        return;
    hl_emulator_read_instruction(e, hl_emulator_reg(e, HL_UC_RIP), code,
                                 &insn);
    if (!reaches(e, port, size))
        hl_emulator_leave_by_exception(e, HL_VECTOR_PROTECTION, 0, 0);
    else if (port == HL_PORT_SYSTEM_CALL)
        leave_by_call(e, HL_EXIT_SYSTEM_CALL, 0, insn.length);
    else
        leave_by_call(e, HL_EXIT_CALL,
                      hl_emulator_reg(e, hl_emulator_gpr(HL_RAX)),
                      insn.length);
}

static uint32_t on_in(struct hl_uc *engine, uint32_t port, int size,
                      void *user)
{
    struct hl_emulator *e = user;

    (void)engine;
    if (reaches(e, port, size))
        hl_emulator_leave(e, HL_EXIT_UNKNOWN, 0);
    else
        hl_emulator_leave_by_exception(e, HL_VECTOR_PROTECTION, 0, 0);
    return 0;
}

/* With what stands in front of it: two bytes, or up to 15. */
static void on_system_call(struct hl_uc *engine, void *user)
{
    struct hl_emulator *e = user;
    uint8_t code[HL_INSN_MAX];
    struct hl_insn insn;

    (void)engine;
    if (!e->config.system_calls) { /* EFER.SCE is 0 */
        hl_emulator_refuse(e, "system call");
    } else if (!e->left) {
        hl_emulator_read_instruction(e, hl_emulator_reg(e, HL_UC_RIP), code,
                                     &insn);
        leave_by_call(e, HL_EXIT_SYSTEM_CALL, 0, insn.length);
    }
}

/* Its MSRs are 0. */
static void on_sysenter(struct hl_uc *engine, void *user)
{
    (void)engine;
    hl_emulator_refuse(user, "system call");
}

/* Descriptors are read by the supervisor, whoever loads a selector. */
static bool reads_descriptor(const struct hl_emulator *e, uint64_t addr)
{
    const struct hl_x86_tables *t = &e->config.tables;
    uint8_t code[HL_INSN_MAX];
    struct hl_insn insn;

    if (!in_span(addr, t->gdt & ~(PAGE - 1), PAGE))
        return false;
    hl_emulator_read_instruction(e, hl_emulator_reg(e, HL_UC_RIP), code,
                                 &insn);
    return insn.loads_segment;
}

/* What the page tables would say. */
static unsigned perms_at(const struct hl_emulator *e, uint64_t addr, int type)
{
    const struct hl_x86_tables *t = &e->config.tables;
    uint64_t end;

    unsigned perms = hl_vm_perms(&e->config, addr, &end);
    if (perms)
        return perms;
    /* E1: the stack with the frame, the page of the IRETQ, the GDT. */
    if (e->entering && (in_span(addr, t->stack, t->stack_size) ||
                        in_span(addr, t->gdt & ~(PAGE - 1), PAGE)))
        return HL_PERM_READ | HL_PERM_WRITE;
    if (e->entering && in_span(addr, t->iret & ~(PAGE - 1), PAGE))
        return HL_PERM_READ | HL_PERM_EXECUTE;
    if (type == HL_UC_MEM_READ && reads_descriptor(e, addr))
        return HL_PERM_READ;
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
    hl_emulator_leave_by_fault(e, e->refused | (addr & (PAGE - 1)));
    return false;
}

static bool on_translate(struct hl_uc *engine, uint64_t addr, int type,
                         struct hl_uc_tlb_entry *entry, void *user)
{
    struct hl_emulator *e = user;
    unsigned perms = perms_at(e, addr, type), needed = HL_PERM_READ;
    const struct hl_x86_tables *t = &e->config.tables;
    bool supervisors = in_span(addr, t->gdt, t->entry_data + PAGE - t->gdt);
    uint64_t error = ERROR_USER | (perms || supervisors ? ERROR_PRESENT : 0);

    (void)engine;
    if (e->left)
        return false;
    e->until = 0; /* it took a while */
    if (type == HL_UC_MEM_WRITE) {
        needed = HL_PERM_WRITE;
        error |= ERROR_WRITE;
    } else if (type == HL_UC_MEM_FETCH) {
        needed = HL_PERM_EXECUTE;
        error |= ERROR_FETCH;
    }
    if (perms & needed) {
        if (type == HL_UC_MEM_FETCH && (addr ^ t->iret) >= PAGE &&
            !hl_emulator_vet(e, addr))
            return false;
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

int hl_emulator_add_hooks(struct hl_emulator *e)
{
    const struct {
        int type, instruction;
        void (*callback)(void);
    } hooks[] = {
        {HL_UC_HOOK_BLOCK, 0, (void (*)(void))on_block},
        {HL_UC_HOOK_EDGE_GENERATED, 0, (void (*)(void))on_translation},
        {HL_UC_HOOK_INTR, 0, (void (*)(void))on_interrupt},
        {HL_UC_HOOK_DATA_UNMAPPED, 0, (void (*)(void))on_unmapped},
        {HL_UC_HOOK_TLB_FILL, 0, (void (*)(void))on_translate},
        {HL_UC_HOOK_INSN, HL_UC_INS_OUT, (void (*)(void))on_out},
        {HL_UC_HOOK_INSN, HL_UC_INS_IN, (void (*)(void))on_in},
        {HL_UC_HOOK_INSN, HL_UC_INS_SYSCALL, (void (*)(void))on_system_call},
        {HL_UC_HOOK_INSN, HL_UC_INS_SYSENTER, (void (*)(void))on_sysenter},
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
