/* System calls as a processor makes them: the stub runs at CPL 0, on whatever
 * stack the guest had.  A KVM without hardware help, and the fake that uses
 * it, leave the guest at CPL 3 there, so the vCPU is put where SYSCALL puts
 * it. */
#include <sys/ioctl.h>

#include "fake/mshv/fake.h"
#include "vm/kvm/machine.h"
#include "vm/mshv/machine.h"
#include "vm/start.h"
#include "vm_bed.h"

#define KERNEL_CODE 0xa09b /* bits 40 to 55, as HL_START_CODE */
#define KERNEL_DATA 0xc093

static void to_supervisor_on_kvm(struct hl_vm *vm)
{
    const struct hl_kvm *k = hl_kvm_of(vm);
    struct kvm_sregs s;

    CHECK(ioctl(k->cpu_fd, KVM_GET_SREGS, &s) == 0);
    s.cs.selector = HL_X86_KERNEL_CODE;
    s.ss.selector = HL_X86_KERNEL_DATA;
    s.cs.dpl = s.ss.dpl = 0;
    s.tr.type = hl_start_tss_type() & 0xf;
    CHECK(ioctl(k->cpu_fd, KVM_SET_SREGS, &s) == 0);
}

static void to_supervisor_on_mshv(struct hl_vm *vm)
{
    const struct hl_mshv *m = hl_mshv_of(vm);
    const struct hl_hv_register list[] = {
        {.name = HL_HV_CS,
         .value.segment = {0, UINT32_MAX, HL_X86_KERNEL_CODE, KERNEL_CODE}},
        {.name = HL_HV_SS,
         .value.segment = {0, UINT32_MAX, HL_X86_KERNEL_DATA, KERNEL_DATA}},
    };

    CHECK(m->interface->set(m, list, HL_ARRAY_SIZE(list)) == 0);
}

static void to_supervisor(struct hl_vm *vm)
{
    if (ops == &hl_driver_kvm)
        to_supervisor_on_kvm(vm);
    else
        to_supervisor_on_mshv(vm);
}

/* As the guest had it that is behind a SYSCALL at CODE. */
static struct bed boot_in_call(const char *code, const char *end, uint64_t rsp)
{
    struct bed bed = boot(code, end);
    struct hl_vm_regs *regs = ops->regs(bed.vm);

    to_supervisor(bed.vm);
    regs->rip = bed.stub;
    regs->gpr[HL_RCX] = CODE + 2;
    regs->gpr[HL_R11] = 0x247;
    regs->gpr[HL_RSP] = rsp;
    return bed;
}

/* Where it is, in selectors that may be the host's, and whether it may do what
 * it may not. */
GUEST(looks, "syscall\n"
             "mov %cs, %eax\n"
             "out %al, $0x48\n"
             "mov %ss, %eax\n"
             "out %al, $0x48\n"
             "hlt");

static void calls_go_on_at_cpl_3(void)
{
    struct bed bed = boot_in_call(looks, looks_end, 8);
    void *state = malloc(ops->state_size);
    struct hl_exit left = run(&bed);

    CHECK(left.reason == HL_EXIT_SYSTEM_CALL && left.value == CODE);
    CHECK(ops->regs(bed.vm)->rip == CODE + 2);
    CHECK(ops->regs(bed.vm)->gpr[HL_RSP] == 8);
    CHECK((ops->regs(bed.vm)->rflags & ~UINT64_C(0x200)) == 0x47);
    CHECK(ops->save(bed.vm, state) == 0);
    for (int again = 0; again < 3; again++) {
        CHECK((call(&bed) & 3) == 3);
        CHECK((call(&bed) & 3) == 3);
        left = run(&bed);
        CHECK(left.reason == HL_EXIT_EXCEPTION && left.frame.vector == 13);
        CHECK(left.frame.cs == HL_X86_USER_CODE);
        CHECK(ops->finish == NULL || ops->finish(bed.vm) == 0);
        CHECK(ops->load(bed.vm, state) == 0);
    }
    free(state);
    end(&bed);
}

/* Between the SYSCALL and the OUT, too. */
static void kicks_may_come_in_between(void)
{
    struct bed bed = boot_in_call(looks, looks_end, 8);
    struct hl_exit left;

    for (int again = 0; again < 3; again++) {
        ops->kick(bed.vm);
        CHECK(ops->run(bed.vm, &left) == 0 && left.reason == HL_EXIT_KICKED);
        CHECK(ops->regs(bed.vm)->rip == bed.stub);
    }
    left = run(&bed);
    CHECK(left.reason == HL_EXIT_SYSTEM_CALL && left.value == CODE);
    CHECK((call(&bed) & 3) == 3);
    end(&bed);
}

/* Where a processor cannot go on, the machine can be loaded and run. */
static void nowhere_is_an_exception(void)
{
    struct bed bed = boot(looks, looks_end);
    void *state = malloc(ops->state_size);

    CHECK(ops->save(bed.vm, state) == 0);
    end(&bed);
    bed = boot_in_call(looks, looks_end, 8);
    ops->regs(bed.vm)->gpr[HL_RCX] = UINT64_C(1) << 47;
    struct hl_exit left = run(&bed);
    CHECK(left.reason == HL_EXIT_EXCEPTION && left.frame.vector == 13);
    CHECK(ops->finish == NULL || ops->finish(bed.vm) == 0);
    CHECK(ops->load(bed.vm, state) == 0);
    ops->regs(bed.vm)->rip = CODE + 2;
    CHECK((call(&bed) & 3) == 3);
    free(state);
    end(&bed);
}

/* X2: what interrupts the stub uses a stack of the tables, not the one that
 * the guest chose: here the page of the IDT. */
#define IDT_AT PAGE
GUEST(faults, "ud2");

static void no_frame_is_where_the_guest_says(void)
{
    const uint64_t rsp = TABLES + IDT_AT + PAGE;
    struct bed bed = boot_in_call(faults, faults_end, rsp);
    const char *idt = (const char *)bed.map.addr + IDT_AT;
    char before[PAGE];

    memcpy(before, idt, PAGE);
    ops->regs(bed.vm)->rip = CODE;
    struct hl_exit left = run(&bed);
    CHECK(left.reason == HL_EXIT_EXCEPTION && left.frame.vector == 6);
    CHECK(left.frame.rip == CODE && left.frame.rsp == rsp);
    CHECK(memcmp(idt, before, PAGE) == 0);
    end(&bed);
}

static void run_all(void)
{
    if (ops != &hl_driver_kvm && ops != &hl_driver_mshv)
        return;
    system_calls = true;
    RUN(calls_go_on_at_cpl_3);
    RUN(kicks_may_come_in_between);
    RUN(nowhere_is_an_exception);
    RUN(no_frame_is_where_the_guest_says);
}

int main(void)
{
    hl_mshv_use_calls(&fake_mshv_calls);
    return on_every_driver(run_all);
}
