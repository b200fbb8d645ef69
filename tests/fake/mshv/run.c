/* RUN_VP: the guest runs until there is a message. */
#include <string.h>

#include "fake/mshv/partition.h"
#include "fake/mshv/switches.h"

/* Types of messages that the driver has no name for. */
#define X64_HALT ((uint32_t)0x80010007)
#define UNSUPPORTED_FEATURE ((uint32_t)0x80000022)

#define CR0_PE 1
#define EFER_LMA 10

static uint64_t get(struct fake_cpu *cpu, uint32_t name)
{
    union hl_hv_value value;

    return fake_cpu_get(cpu, name, &value) == 0 ? value.u64[0] : 0;
}

static struct hl_hv_segment segment(struct fake_cpu *cpu, uint32_t name)
{
    union hl_hv_value value;

    return fake_cpu_get(cpu, name, &value) == 0 ? value.segment
                                                : (struct hl_hv_segment){0};
}

static struct hl_hv_intercept
head_of(const struct fake_vp *vp, const struct fake_left *left, uint8_t access)
{
    const unsigned cpl = segment(vp->cpu, HL_HV_SS).attributes >> 5 & 3;
    const unsigned pe = get(vp->cpu, HL_HV_CR0) & CR0_PE;
    const unsigned lma = get(vp->cpu, HL_HV_EFER) >> EFER_LMA & 1;

    return (struct hl_hv_intercept){
        .vp_index = vp->index,
        .instruction_length = left->length,
        .access_type = access,
        .execution_state = (uint16_t)(cpl | pe << 2 | lma << 4),
        .cs = segment(vp->cpu, HL_HV_CS),
        .rip = get(vp->cpu, HL_HV_RIP),
        .rflags = get(vp->cpu, HL_HV_RFLAGS),
    };
}

static void put(struct hl_hv_message *m, uint32_t type, const void *payload,
                size_t size)
{
    m->type = type;
    m->payload_size = (uint8_t)size;
    memcpy(m->payload, payload, size);
}

static void tell_port(const struct fake_vp *vp, const struct fake_left *left,
                      struct hl_hv_message *m)
{
    struct hl_hv_io_port_intercept io = {
        .header = head_of(vp, left,
                          left->out ? HL_HV_ACCESS_WRITE : HL_HV_ACCESS_READ),
        .port_number = left->port,
        .access_info =
            (uint8_t)(left->size | (left->string ? HL_HV_IO_STRING : 0) |
                      (left->repeated ? HL_HV_IO_REP : 0)),
        .instruction_byte_count = left->byte_count,
        .rax = get(vp->cpu, HL_HV_RAX),
        .rcx = get(vp->cpu, HL_HV_RAX + 1),
        .rsi = get(vp->cpu, HL_HV_RAX + 6),
        .rdi = get(vp->cpu, HL_HV_RAX + 7),
    };

    memcpy(io.instruction_bytes, left->bytes, sizeof left->bytes);
    if (left->string) {
        io.ds = segment(vp->cpu, HL_HV_DS);
        io.es = segment(vp->cpu, HL_HV_ES);
    }
    put(m, (uint32_t)HL_HVMSG_X64_IO_PORT_INTERCEPT, &io, sizeof io);
}

static void tell_memory(struct fake_vp *vp, const struct fake_left *left,
                        uint64_t gpa, uint8_t access, struct hl_hv_message *m)
{
    struct hl_hv_memory_intercept memory = {
        .header = head_of(vp, left, access),
        .instruction_byte_count = left->byte_count,
        .gpa = gpa,
    };
    pthread_mutex_lock(&vp->partition->lock);
    bool mapped = fake_region_at(vp->partition, gpa) != NULL;
    pthread_mutex_unlock(&vp->partition->lock);

    memcpy(memory.instruction_bytes, left->bytes, sizeof left->bytes);
    put(m, (uint32_t)(mapped ? HL_HVMSG_GPA_INTERCEPT : HL_HVMSG_UNMAPPED_GPA),
        &memory, sizeof memory);
}

/* KVM lets a guest run code wherever it can read; Hyper-V does not.  Found out
 * only where the guest left. */
static bool may_execute(struct fake_vp *vp, const struct fake_left *left)
{
    if (left->code == UINT64_MAX)
        return true;
    pthread_mutex_lock(&vp->partition->lock);
    const struct fake_region *r = fake_region_at(vp->partition, left->code);
    bool may = r == NULL || r->executable;
    pthread_mutex_unlock(&vp->partition->lock);
    return may;
}

static void tell(struct fake_vp *vp, const struct fake_left *left,
                 struct hl_hv_message *m)
{
    const struct hl_hv_intercept head =
        head_of(vp, left, HL_HV_ACCESS_EXECUTE);

    if (!may_execute(vp, left)) {
        fake_count(FAKE_VIOLATIONS, 1);
        tell_memory(vp, left, left->code, HL_HV_ACCESS_EXECUTE, m);
        return;
    }
    switch (left->how) {
    case FAKE_PORT:
        tell_port(vp, left, m);
        break;
    case FAKE_MEMORY:
        tell_memory(vp, left, left->gpa,
                    left->write ? HL_HV_ACCESS_WRITE : HL_HV_ACCESS_READ, m);
        break;
    case FAKE_TRIPLE_FAULT:
        put(m, (uint32_t)HL_HVMSG_UNRECOVERABLE_EXCEPTION, &head, sizeof head);
        break;
    case FAKE_HALT:
        put(m, X64_HALT, &head, sizeof head);
        break;
    default:
        put(m, UNSUPPORTED_FEATURE, &left->number, sizeof left->number);
    }
}

/* On Hyper-V the guest would use frames that the host has no more. */
static int check(struct fake_vp *vp)
{
    const unsigned long every =
        (unsigned long)fake_mshv_switched(FAKE_FRAMES_EVERY);

    pthread_mutex_lock(&vp->partition->lock);
    int err =
        fake_partition_check(vp->partition, every && vp->runs % every == 0);
    pthread_mutex_unlock(&vp->partition->lock);
    fake_count(FAKE_VIOLATIONS, err < 0);
    return err;
}

int fake_vp_run(struct fake_vp *vp, uint64_t argument)
{
    const unsigned long spurious =
        (unsigned long)fake_mshv_switched(FAKE_SPURIOUS_EVERY);
    struct hl_hv_message message = {0};
    struct fake_left left;

    vp->runs++;
    if (spurious && vp->runs % spurious == 0) {
        fake_count(FAKE_FAILED, 1);
        return -EINTR;
    }
    int err = check(vp);
    if (err < 0)
        return err;
    atomic_store(&vp->partition->ran, true);
    err = fake_cpu_run(vp->cpu, &left);
    if (err < 0)
        return err;
    tell(vp, &left, &message);
    fake_count(FAKE_MESSAGES, 1);
    return fake_copy_out(argument, &message, sizeof message);
}
