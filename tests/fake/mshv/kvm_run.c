/* Running: KVM_RUN, and then what KVM left unfinished is undone, so that the
 * vCPU is as Hyper-V would have left it: at the instruction, of which nothing
 * has happened. */
#include <asm/prctl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fake/mshv/kvm.h"

/* A KVM without hardware help may leave the guest's selectors in the thread.
 */
struct selectors {
    uint16_t ds, es, fs, gs;
};

static struct selectors read_selectors(void)
{
    struct selectors s;

    __asm__ volatile("mov %%ds, %0" : "=m"(s.ds));
    __asm__ volatile("mov %%es, %0" : "=m"(s.es));
    __asm__ volatile("mov %%fs, %0" : "=m"(s.fs));
    __asm__ volatile("mov %%gs, %0" : "=m"(s.gs));
    return s;
}

/* Setting a base makes the selector 0, which it is in all programs. */
static void zero_selector(int get, int set)
{
    unsigned long base;

    if (syscall(SYS_arch_prctl, get, &base) == 0)
        (void)syscall(SYS_arch_prctl, set, base);
}

static void put_back_selectors(struct selectors before)
{
    struct selectors now = read_selectors();

    if (before.ds != now.ds)
        __asm__ volatile("mov %0, %%ds" : : "m"(before.ds));
    if (before.es != now.es)
        __asm__ volatile("mov %0, %%es" : : "m"(before.es));
    if (before.fs != now.fs)
        zero_selector(ARCH_GET_FS, ARCH_SET_FS);
    if (before.gs != now.gs)
        zero_selector(ARCH_GET_GS, ARCH_SET_GS);
}

/* at_once: only what the last run left is completed, which ends in -EINTR; 0:
 * it left once more instead. */
static int enter(struct fake_cpu *cpu, bool at_once)
{
    const struct selectors before = read_selectors();

    cpu->known = 0;
    cpu->run->immediate_exit = at_once;
    int err = ioctl(cpu->fd, KVM_RUN, 0) < 0 ? -errno : 0;
    put_back_selectors(before);
    cpu->run->immediate_exit = 0;
    return err;
}

/* An INS of 1024 bytes, each of which may leave, since memory is withheld. */
#define MOST_EXITS 2048

/* Completed, each instruction writes registers, and some write memory: none
 * can be written meanwhile, and the registers are put back. */
static int undo(struct fake_cpu *cpu, uint64_t rounds)
{
    struct kvm_xsave xsave;
    int err = fake_cpu_know(cpu, FAKE_REGS | FAKE_SREGS | FAKE_EVENTS);

    if (err < 0 || ioctl(cpu->fd, KVM_GET_XSAVE, &xsave) < 0)
        return err < 0 ? err : -errno;
    const struct fake_cpu kept = *cpu;
    err = fake_machine_withhold(cpu->machine, true);
    for (int i = 0; i < MOST_EXITS && err == 0; i++) {
        cpu->regs = kept.regs;
        cpu->regs.rcx = rounds;
        cpu->changed = FAKE_REGS;
        err = fake_cpu_commit(cpu);
        if (err == 0)
            err = enter(cpu, true);
    }
    int rc = fake_machine_withhold(cpu->machine, false);
    if (err != -EINTR || rc < 0)
        return err == -EINTR ? rc : err < 0 ? err : -EIO;
    *cpu = kept;
    cpu->changed = FAKE_REGS | FAKE_SREGS | FAKE_EVENTS;
    err = fake_cpu_commit(cpu);
    return err < 0                                     ? err
           : ioctl(cpu->fd, KVM_SET_XSAVE, &xsave) < 0 ? -errno
                                                       : 0;
}

static int leave_by_port(struct fake_cpu *cpu, struct fake_left *left)
{
    const uint32_t count = cpu->run->io.count;
    int err;

    left->how = FAKE_PORT;
    left->port = cpu->run->io.port;
    left->size = cpu->run->io.size;
    left->out = cpu->run->io.direction == KVM_EXIT_IO_OUT;
    if (left->out) { /* which writes nothing but what is put back */
        err = enter(cpu, true);
        err = err == -EINTR ? 0 : err < 0 ? err : -EIO;
    } else {
        err = undo(cpu, count);
    }
    if (err == 0)
        err = fake_cpu_know(cpu, FAKE_REGS | FAKE_SREGS);
    if (err < 0)
        return err;
    fake_port_find(cpu, left);
    cpu->changed |= left->out ? FAKE_REGS : 0;
    return fake_cpu_commit(cpu);
}

static int leave_by_memory(struct fake_cpu *cpu, struct fake_left *left)
{
    left->how = FAKE_MEMORY;
    left->gpa = cpu->run->mmio.phys_addr;
    left->size = (uint8_t)cpu->run->mmio.len;
    left->write = cpu->run->mmio.is_write;
    int err = undo(cpu, 1);
    if (err < 0)
        return err;
    left->byte_count =
        (uint8_t)fake_cpu_peek(cpu, cpu->sregs.cs.base + cpu->regs.rip,
                               left->bytes, sizeof left->bytes, &left->code);
    return 0;
}

int fake_cpu_run(struct fake_cpu *cpu, struct fake_left *left)
{
    memset(left, 0, sizeof *left);
    left->code = UINT64_MAX;
    int err = enter(cpu, false);
    if (err < 0)
        return err;
    left->number = cpu->run->exit_reason;
    switch (cpu->run->exit_reason) {
    case KVM_EXIT_IO:
        return leave_by_port(cpu, left);
    case KVM_EXIT_MMIO:
        return leave_by_memory(cpu, left);
    case KVM_EXIT_SHUTDOWN:
        left->how = FAKE_TRIPLE_FAULT;
        return 0;
    case KVM_EXIT_HLT:
        left->how = FAKE_HALT;
        return 0;
    case KVM_EXIT_INTR:
        return -EINTR;
    default:
        left->how = FAKE_ELSE;
        return 0;
    }
}
