/* Hypercalls that the kernel passes on. */
#include <string.h>

#include "fake/mshv/partition.h"
#include "fake/mshv/switches.h"

/* What hypercalls end with. */
enum {
    SUCCESS = 0,
    INVALID_CODE = 2,
    INVALID_INPUT = 3,
    INVALID_PARAMETER = 5,
    OPERATION_DENIED = 8,
    UNKNOWN_PROPERTY = 9,
    INSUFFICIENT_MEMORY = 0xb,
    INVALID_VP_INDEX = 0xe,
    INVALID_VP_STATE = 0x15,
};

/* All that the kernel lets through; what is not in uapi.h ends with
 * INVALID_CODE here. */
static const uint16_t allowed[] = {
    0x44,
    HL_HVCALL_SET_PARTITION_PROPERTY,
    0x4d,
    HL_HVCALL_GET_VP_REGISTERS,
    HL_HVCALL_SET_VP_REGISTERS,
    0x52,
    0x8c,
    0x91,
    0x94,
    0xc9,
    0xc0,
    0xc1,
    0xf4,
};

struct hypercall {
    struct hl_mshv_hvcall args;
    uint8_t in[HL_MSHV_PAGE], out[HL_MSHV_PAGE];
    uint16_t done; /* repetitions */
};

static int to_errno(int status)
{
    switch (status) {
    case SUCCESS:
        return 0;
    case INSUFFICIENT_MEMORY: /* the kernel has given some by then */
        return -EAGAIN;
    case OPERATION_DENIED:
    case UNKNOWN_PROPERTY:
    case INVALID_VP_STATE:
        return -EIO;
    default:
        return -EINVAL;
    }
}

static int to_status(int err)
{
    return err == 0         ? SUCCESS
           : err == -EINVAL ? INVALID_PARAMETER
                            : OPERATION_DENIED;
}

int fake_set_property(struct fake_partition *p, uint32_t code, uint64_t value)
{
    if (code != HL_HV_GPA_PAGE_ACCESS_TRACKING)
        return -EIO;
    return fake_track(p, value);
}

static int set_property(struct fake_partition *p, struct hypercall *h)
{
    struct hl_hv_property property;

    memcpy(&property, h->in, sizeof property);
    if (h->args.reps || property.padding)
        return INVALID_INPUT;
    if (property.code != HL_HV_GPA_PAGE_ACCESS_TRACKING)
        return UNKNOWN_PROPERTY;
    return to_status(fake_set_property(p, property.code, property.value));
}

/* One repetition. */
static int move(struct fake_cpu *cpu, struct hypercall *h, size_t i)
{
    const uint8_t *in = h->in + sizeof(struct hl_hv_registers_head);
    struct hl_hv_register reg;
    union hl_hv_value value;
    uint32_t name;

    if (h->args.code == HL_HVCALL_SET_VP_REGISTERS) {
        memcpy(&reg, in + i * sizeof reg, sizeof reg);
        if (reg.reserved1 || reg.reserved2)
            return -EINVAL;
        return fake_cpu_set(cpu, reg.name, &reg.value);
    }
    memcpy(&name, in + i * sizeof name, sizeof name);
    int err = fake_cpu_get(cpu, name, &value);
    if (err == 0)
        memcpy(h->out + i * sizeof value, &value, sizeof value);
    return err;
}

static int move_all(struct fake_vp *vp, struct hypercall *h)
{
    int err = 0, rc;

    while (h->done < h->args.reps && err == 0) {
        err = move(vp->cpu, h, h->done);
        if (err == 0)
            h->done++;
    }
    rc = fake_cpu_commit(vp->cpu);
    if (rc < 0)
        h->done = 0;
    return to_status(err < 0 ? err : rc);
}

static int registers(struct fake_partition *p, const struct fake_vp *held,
                     struct hypercall *h)
{
    const bool set = h->args.code == HL_HVCALL_SET_VP_REGISTERS;
    struct hl_hv_registers_head head;

    memcpy(&head, h->in, sizeof head);
    if (h->args.reps == 0 || (!set && !h->args.out) ||
        sizeof head + h->args.reps * (set ? sizeof(struct hl_hv_register)
                                          : sizeof(uint32_t)) >
            sizeof h->in ||
        h->args.reps * sizeof(union hl_hv_value) > sizeof h->out)
        return INVALID_INPUT;
    if (head.vtl || head.reserved8 || head.reserved16)
        return INVALID_PARAMETER;
    if (p->vp.cpu == NULL || head.vp_index != p->vp.index)
        return INVALID_VP_INDEX;
    if (held)
        return move_all(&p->vp, h);
    if (pthread_mutex_trylock(&p->vp.lock))
        return INVALID_VP_STATE; /* it runs */
    int status = move_all(&p->vp, h);
    pthread_mutex_unlock(&p->vp.lock);
    return status;
}

/* A hypercall that lacks memory fails, and the kernel gives some: each fails
 * once. */
static bool lacks_memory(struct fake_partition *p, uint16_t code)
{
    const uint64_t bit = UINT64_C(1) << (code & 63);

    if (!fake_mshv_switched(FAKE_EAGAIN_ONCE))
        return false;
    const bool lacks = (p->suspended ^= bit) & bit;
    fake_count(FAKE_FAILED, lacks);
    return lacks;
}

static int perform(struct fake_partition *p, const struct fake_vp *vp,
                   struct hypercall *h)
{
    fake_count(FAKE_HYPERCALLS, 1);
    if (lacks_memory(p, h->args.code))
        return INSUFFICIENT_MEMORY;
    switch (h->args.code) {
    case HL_HVCALL_SET_PARTITION_PROPERTY:
        return set_property(p, h);
    case HL_HVCALL_GET_VP_REGISTERS:
    case HL_HVCALL_SET_VP_REGISTERS:
        return registers(p, vp, h);
    default:
        return INVALID_CODE;
    }
}

static bool is_allowed(const struct hl_mshv_hvcall *args, bool from_vp)
{
    bool found = false;

    for (size_t i = 0; i < HL_ARRAY_SIZE(allowed); i++)
        found |= allowed[i] == args->code;
    return found && !args->status && args->in && args->in_size >= 8 &&
           args->in_size <= HL_MSHV_PAGE &&
           fake_is_zero(args->reserved, sizeof args->reserved) &&
           (!args->out ||
            (args->out_size && args->out_size <= HL_MSHV_PAGE)) &&
           !(from_vp && args->code == HL_HVCALL_SET_PARTITION_PROPERTY);
}

/* Both pages are whatever they were: what the caller did not give is not 0,
 * and what is not answered is no answer. */
int fake_hvcall(struct fake_partition *p, const struct fake_vp *vp,
                uint64_t argument)
{
    struct hypercall h;
    int err;

    memset(&h, 0xa5, sizeof h);
    h.done = 0;
    err = fake_copy_in(&h.args, argument, sizeof h.args);
    if (err == 0 && !is_allowed(&h.args, vp != NULL))
        err = -EINVAL;
    if (err == 0)
        err = fake_copy_in(h.in, h.args.in, h.args.in_size);
    if (err < 0)
        return err;
    int status = perform(p, vp, &h);
    err = to_errno(status);
    h.args.status = (uint16_t)status;
    h.args.reps = h.args.reps ? h.done : 0;
    if (fake_copy_out(argument, &h.args, sizeof h.args) < 0 ||
        (h.args.out && fake_copy_out(h.args.out, h.out, h.args.out_size) < 0))
        err = -EFAULT;
    return err;
}
