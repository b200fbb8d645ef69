/* Inside of the fake: what runs the guest.  kvm_*.c are one; another engine
 * would be other files with these functions. */
#ifndef HL_TESTS_FAKE_ENGINE_H
#define HL_TESTS_FAKE_ENGINE_H

#include "vm/mshv/uapi.h"

#define FAKE_SLOTS 64

struct fake_machine;
struct fake_cpu;

struct fake_slot {
    uint64_t addr, size; /* size 0: there is none */
    uint64_t host;
    bool writable;
};

/* -ENODEV: this system has no such engine. */
int fake_engine_probe(void) HL_MUST_CHECK;

int fake_machine_create(struct fake_machine **out) HL_MUST_CHECK;
/* lost: its descriptors were closed by somebody else, and may be others'. */
void fake_machine_destroy(struct fake_machine *m, bool lost);
/* Replaces slot `number`, whose writes are logged from now on or not. */
int fake_machine_set_slot(struct fake_machine *m, uint32_t number,
                          const struct fake_slot *slot,
                          bool logged) HL_MUST_CHECK;
/* Adds the pages of a logged slot that the guest wrote since the last time:
 * bit i of `bits` is page i. */
int fake_machine_written(struct fake_machine *m, uint32_t number,
                         uint64_t *bits) HL_MUST_CHECK;

/* A machine has one vCPU at most; it ends with the machine.  Below: one call
 * at a time. */
int fake_cpu_create(struct fake_machine *m,
                    struct fake_cpu **out) HL_MUST_CHECK;

enum fake_how {
    FAKE_PORT,
    FAKE_MEMORY,
    FAKE_TRIPLE_FAULT,
    FAKE_HALT,
    FAKE_ELSE
};

/* Why the guest left.  The vCPU is at the instruction and nothing of it has
 * happened, but for one that writes outside of memory: there, registers are
 * those behind it, since KVM tells no more. */
struct fake_left {
    enum fake_how how;
    uint64_t number; /* FAKE_ELSE: the engine's own */
    uint16_t port;
    uint8_t size;
    bool out, string, repeated;
    uint64_t gpa; /* FAKE_MEMORY */
    bool write;
    uint64_t code;  /* where the instruction is in guest memory; -1: unknown */
    uint8_t length; /* of it, at FAKE_PORT; 0: unknown */
    uint8_t bytes[16], byte_count;
};

/* -EINTR: a signal; the vCPU goes on where it was. */
int fake_cpu_run(struct fake_cpu *cpu, struct fake_left *left) HL_MUST_CHECK;

/* Registers, by the names of uapi.h.  What is set takes effect with commit;
 * -EINVAL: no such register, or values that no processor has, of which none
 * takes effect. */
int fake_cpu_get(struct fake_cpu *cpu, uint32_t name,
                 union hl_hv_value *value) HL_MUST_CHECK;
int fake_cpu_set(struct fake_cpu *cpu, uint32_t name,
                 const union hl_hv_value *value) HL_MUST_CHECK;
int fake_cpu_commit(struct fake_cpu *cpu) HL_MUST_CHECK;

/* x87 and vector state: at most a page. */
size_t fake_cpu_xsave_size(void);
int fake_cpu_get_xsave(struct fake_cpu *cpu, void *area) HL_MUST_CHECK;
int fake_cpu_set_xsave(struct fake_cpu *cpu, const void *area) HL_MUST_CHECK;

#endif
