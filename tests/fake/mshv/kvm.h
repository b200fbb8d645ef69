/* Inside of the engine that is KVM: kvm_machine.c makes the machine, kvm_run.c
 * runs it, kvm_port.c finds out which instruction left, kvm_registers.c has
 * the registers by Hyper-V's names. */
#ifndef HL_TESTS_FAKE_KVM_H
#define HL_TESTS_FAKE_KVM_H

#include <linux/kvm.h>

#include "fake/mshv/engine.h"

/* Groups of registers that KVM moves together. */
enum {
    FAKE_REGS = 1,
    FAKE_SREGS = 2,
    FAKE_XCRS = 4,
    FAKE_DEBUG = 8,
    FAKE_EVENTS = 16,
};

struct fake_cpu {
    struct fake_machine *machine;
    int fd;
    struct kvm_run *run;
    unsigned known, changed; /* groups: held below; and to be given to KVM */
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debug;
    struct kvm_vcpu_events events;
};

struct fake_machine {
    int vm, run_size;
    struct {
        struct fake_slot slot;
        bool logged;
        uint64_t *kept; /* bits taken from KVM's log, not yet asked for */
    } slots[FAKE_SLOTS];
    bool has_cpu;
    struct fake_cpu cpu;
};

/* kvm_machine.c.  withheld: for a while, no slot can be written. */
int fake_machine_withhold(struct fake_machine *m, bool withheld) HL_MUST_CHECK;
/* Guest memory [addr, +size) of one slot, or NULL. */
const void *fake_machine_host(const struct fake_machine *m, uint64_t addr,
                              size_t size);

/* kvm_registers.c. */
int fake_cpu_know(struct fake_cpu *cpu, unsigned groups) HL_MUST_CHECK;

/* kvm_port.c.  Guest virtual memory, as the vCPU has it now; returns how many
 * bytes there are, *gpa: of the first. */
size_t fake_cpu_peek(struct fake_cpu *cpu, uint64_t addr, uint8_t *bytes,
                     size_t count, uint64_t *gpa);
/* From KVM's exit by a port, and the registers behind it: fill in what is
 * known of the instruction, and put cpu->regs back to before it. */
void fake_port_find(struct fake_cpu *cpu, struct fake_left *left);

#endif
