/* Which instruction a port exit of KVM's was.
 *
 * KVM tells the port but not the instruction, and RIP is behind it for what
 * writes to ports.  So it is looked for in the bytes before RIP; what fits the
 * port and the size is taken. */
#include <string.h>

#include "fake/mshv/kvm.h"

#define BEFORE 3 /* bytes: a prefix, an opcode, a port */

size_t fake_cpu_peek(struct fake_cpu *cpu, uint64_t addr, uint8_t *bytes,
                     size_t count, uint64_t *gpa)
{
    size_t done = 0;

    while (done < count) {
        struct kvm_translation t = {.linear_address = addr + done};
        size_t part = HL_MSHV_PAGE - (addr + done) % HL_MSHV_PAGE;
        if (part > count - done)
            part = count - done;
        if (ioctl(cpu->fd, KVM_TRANSLATE, &t) < 0 || !t.valid)
            break;
        const void *from =
            fake_machine_host(cpu->machine, t.physical_address, part);
        if (from == NULL)
            break;
        memcpy(bytes + done, from, part);
        if (done == 0)
            *gpa = t.physical_address;
        done += part;
    }
    return done;
}

/* b: the end of the bytes before RIP, of which `have` are known. */
static uint8_t out_length(const struct fake_cpu *cpu,
                          const struct fake_left *left, const uint8_t *b,
                          size_t have)
{
    const bool dx = (uint16_t)cpu->regs.rdx == left->port;
    const uint8_t wide = left->size > 1;
    uint8_t length = 0;

    if (have >= 2 && b[-2] == 0xe6 + wide && b[-1] == left->port)
        length = 2;
    else if (have >= 1 && dx && b[-1] == 0xee + wide)
        length = 1;
    if (length && left->size == 2 && have > length && b[-length - 1] == 0x66)
        length++;
    return length;
}

/* IN, INS or OUTS at b; 0: it is none of them. */
static uint8_t length_at(const struct fake_cpu *cpu, struct fake_left *left,
                         const uint8_t *b, size_t have)
{
    const bool dx = (uint16_t)cpu->regs.rdx == left->port;
    const uint8_t wide = left->size > 1;
    const uint8_t string = (uint8_t)((left->out ? 0x6e : 0x6c) + wide);
    bool repeated = false;
    uint8_t i = 0;

    for (; i < have && (b[i] == 0x66 || b[i] == 0xf2 || b[i] == 0xf3 ||
                        (b[i] & 0xf0) == 0x40);
         i++)
        repeated |= b[i] == 0xf2 || b[i] == 0xf3;
    if (i >= have)
        return 0;
    if (dx && b[i] == string) {
        left->string = true;
        left->repeated = repeated;
        return (uint8_t)(i + 1);
    }
    if (!left->out && dx && b[i] == 0xec + wide)
        return (uint8_t)(i + 1);
    if (!left->out && i + 1 < (int)have && b[i] == 0xe4 + wide &&
        b[i + 1] == left->port)
        return (uint8_t)(i + 2);
    return 0;
}

/* KVM counted one round of an OUTS already. */
static void put_back_string(struct fake_cpu *cpu, const struct fake_left *left)
{
    const bool down = cpu->regs.rflags >> 10 & 1;

    cpu->regs.rsi += down ? left->size : UINT64_MAX - left->size + 1;
    cpu->regs.rcx += left->repeated;
}

/* An OUTS stays where it is while there is more of it, and else is behind. */
static uint8_t find_outs(struct fake_cpu *cpu, struct fake_left *left,
                         const uint8_t *b, size_t before, size_t behind)
{
    uint8_t back = 0;

    left->length = length_at(cpu, left, b, behind);
    for (uint8_t n = 1; n <= before && left->length == 0; n++) {
        left->length = length_at(cpu, left, b - n, n);
        if (left->length && left->length != n)
            left->length = 0;
        back = left->length;
    }
    if (left->length)
        put_back_string(cpu, left);
    return back;
}

void fake_port_find(struct fake_cpu *cpu, struct fake_left *left)
{
    uint8_t around[BEFORE + sizeof left->bytes];
    const uint64_t rip = cpu->sregs.cs.base + cpu->regs.rip;
    size_t before = left->out ? BEFORE : 0, have;
    uint8_t back = 0;
    uint64_t gpa = 0;

    left->code = UINT64_MAX;
    do
        have = fake_cpu_peek(cpu, rip - before, around,
                             before + sizeof left->bytes, &gpa);
    while (have < before + !left->out && before-- > 0);
    if (before > BEFORE) /* nothing at RIP itself, where the IN is */
        return;
    const uint8_t *b = around + before;
    if (left->out)
        back = left->length = out_length(cpu, left, b, before);
    if (left->out && left->length == 0)
        back = find_outs(cpu, left, b, before, have - before);
    if (!left->out)
        left->length = length_at(cpu, left, b, have - before);
    if (left->length == 0)
        return;
    cpu->regs.rip -= back;
    left->code = gpa + before - back;
    left->byte_count = (uint8_t)(have - before + back > sizeof left->bytes
                                     ? sizeof left->bytes
                                     : have - before + back);
    memcpy(left->bytes, b - back, left->byte_count);
}
