/* The older interface. */
#include "fake/mshv/interface.h"

#include <stdlib.h>

#define MOST_REGISTERS 128
#define CLEAR_ACCESSED 1
#define SET_ACCESSED 2

enum fake_kind fake_older_kind(bool vp, unsigned long request)
{
    static const struct {
        unsigned long request;
        bool vp;
        enum fake_kind kind;
    } kinds[] = {
        {HL_MSHV_OLD_CREATE_VP, false, FAKE_CREATE_VP},
        {HL_MSHV_OLD_MAP_MEMORY, false, FAKE_MAP},
        {HL_MSHV_OLD_UNMAP_MEMORY, false, FAKE_UNMAP},
        {HL_MSHV_OLD_SET_PROPERTY, false, FAKE_PROPERTY},
        {HL_MSHV_OLD_GET_ACCESS, false, FAKE_QUERY},
        {HL_MSHV_OLD_GET_ACCESS_PADDED, false, FAKE_QUERY},
        {HL_MSHV_OLD_GET_REGISTERS, true, FAKE_GET_REGISTERS},
        {HL_MSHV_OLD_SET_REGISTERS, true, FAKE_SET_REGISTERS},
        {HL_MSHV_OLD_RUN_VP, true, FAKE_RUN},
        {HL_MSHV_OLD_GET_VP_STATE, true, FAKE_GET_STATE},
        {HL_MSHV_OLD_SET_VP_STATE, true, FAKE_SET_STATE},
    };

    for (size_t i = 0; i < HL_ARRAY_SIZE(kinds); i++)
        if (kinds[i].request == request && kinds[i].vp == vp)
            return kinds[i].kind;
    return FAKE_OTHER;
}

int fake_older_check_partition(uint64_t argument)
{
    struct hl_mshv_old_create_partition args;

    return fake_copy_in(&args, argument, sizeof args);
}

static int move_memory(struct fake_partition *p, uint64_t argument, bool map)
{
    struct hl_mshv_old_memory args;
    int err = fake_copy_in(&args, argument, sizeof args);

    if (err < 0)
        return err;
    const struct fake_slot slot = {
        .addr = args.guest_pfn * HL_MSHV_PAGE,
        .size = args.size,
        .host = args.userspace_addr,
        .writable = args.flags & HL_HV_MAP_WRITABLE,
    };
    if (args.size == 0 || args.size % HL_MSHV_PAGE ||
        args.userspace_addr % HL_MSHV_PAGE)
        return -EINVAL;
    return map ? fake_region_map(p, &slot, args.flags & HL_HV_MAP_EXECUTABLE)
               : fake_region_unmap(p, &slot);
}

static int set_property(struct fake_partition *p, uint64_t argument)
{
    struct hl_mshv_old_property args;
    int err = fake_copy_in(&args, argument, sizeof args);

    fake_count(FAKE_HYPERCALLS, 1);
    return err < 0 ? err : fake_set_property(p, args.code, args.value);
}

/* Both layouts as the padded one. */
static int read_access(uint64_t argument, bool padded,
                       struct hl_mshv_old_access_padded *args)
{
    struct hl_mshv_old_access packed;

    if (padded)
        return fake_copy_in(args, argument, sizeof *args);
    int err = fake_copy_in(&packed, argument, sizeof packed);
    *args = (struct hl_mshv_old_access_padded){
        .count = packed.count,
        .flags = packed.flags,
        .gpa_page = packed.gpa_page,
        .states = packed.states,
    };
    return err;
}

static int get_access(struct fake_partition *p, uint64_t argument)
{
    const bool padded = fake_mshv_switched(FAKE_PADDED);
    const long most = fake_mshv_switched(FAKE_FEWER_PAGES);
    struct hl_mshv_old_access_padded args;

    int err = read_access(argument, padded, &args);
    if (err < 0)
        return err;
    if (args.count == 0 || args.states == 0 || args.flags > 15)
        return -EINVAL;
    struct fake_query q = {
        .page = args.gpa_page,
        .count = most && args.count > most ? (uint64_t)most : args.count,
        .clear =
            (uint8_t)((args.flags & CLEAR_ACCESSED ? FAKE_ACCESSED : 0) |
                      (args.flags & HL_MSHV_OLD_CLEAR_DIRTY ? FAKE_DIRTY : 0)),
        .set =
            (uint8_t)((args.flags & SET_ACCESSED ? FAKE_ACCESSED : 0) |
                      (args.flags & HL_MSHV_OLD_SET_DIRTY ? FAKE_DIRTY : 0)),
    };
    if (q.clear & q.set)
        return -EINVAL;
    q.states = calloc(q.count, 1);
    if (q.states == NULL)
        return -ENOMEM;
    err = fake_query(p, &q);
    if (err == 0)
        err = fake_copy_out(args.states, q.states, q.done);
    free(q.states);
    if (err < 0)
        return err;
    /* `count` is first in both. */
    args.count = (uint32_t)q.done;
    return fake_copy_out(argument, &args.count, sizeof args.count);
}

int fake_older_call(struct fake_partition *p, unsigned long request,
                    uint64_t argument)
{
    switch (request) {
    case HL_MSHV_OLD_MAP_MEMORY:
        return move_memory(p, argument, true);
    case HL_MSHV_OLD_UNMAP_MEMORY:
        return move_memory(p, argument, false);
    case HL_MSHV_OLD_SET_PROPERTY:
        return set_property(p, argument);
    case HL_MSHV_OLD_GET_ACCESS:
    case HL_MSHV_OLD_GET_ACCESS_PADDED:
        if ((request == HL_MSHV_OLD_GET_ACCESS_PADDED) !=
            (fake_mshv_switched(FAKE_PADDED) != 0))
            return -ENOTTY;
        return get_access(p, argument);
    default:
        return -ENOTTY;
    }
}

static int move_register(struct fake_cpu *cpu, struct hl_hv_register *reg,
                         bool set)
{
    if (reg->reserved1 || reg->reserved2)
        return -EINVAL;
    return set ? fake_cpu_set(cpu, reg->name, &reg->value)
               : fake_cpu_get(cpu, reg->name, &reg->value);
}

static int move_registers(struct fake_vp *vp, uint64_t argument, bool set)
{
    struct hl_hv_register registers[MOST_REGISTERS];
    struct hl_mshv_old_registers args;
    int err = fake_copy_in(&args, argument, sizeof args);

    if (err < 0)
        return err;
    if (args.count <= 0 || args.count > MOST_REGISTERS)
        return -EINVAL;
    const size_t size = (size_t)args.count * sizeof registers[0];
    err = fake_copy_in(registers, args.registers, size);
    if (err < 0)
        return err;
    fake_count(FAKE_HYPERCALLS, 1);
    for (int i = 0; i < args.count && err == 0; i++)
        err = move_register(vp->cpu, &registers[i], set);
    int rc = fake_cpu_commit(vp->cpu);
    if (err == 0)
        err = rc;
    return err < 0 || set ? err
                          : fake_copy_out(args.registers, registers, size);
}

int fake_older_vp_call(struct fake_vp *vp, unsigned long request,
                       uint64_t argument)
{
    switch (request) {
    case HL_MSHV_OLD_GET_REGISTERS:
        return move_registers(vp, argument, false);
    case HL_MSHV_OLD_SET_REGISTERS:
        return move_registers(vp, argument, true);
    case HL_MSHV_OLD_RUN_VP:
        return fake_vp_run(vp, argument);
    case HL_MSHV_OLD_GET_VP_STATE:
        return fake_vp_move_xsave(vp, argument, false);
    case HL_MSHV_OLD_SET_VP_STATE:
        return fake_vp_move_xsave(vp, argument, true);
    default:
        return -ENOTTY;
    }
}
