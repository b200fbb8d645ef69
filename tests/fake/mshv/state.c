/* The vp's x87 and vector state, in whole pages of the caller's. */
#include <string.h>

#include "fake/mshv/partition.h"
#include "fake/mshv/switches.h"

int fake_vp_move_xsave(struct fake_vp *vp, uint64_t argument, bool set)
{
    const uint32_t size = (uint32_t)fake_cpu_xsave_size();
    struct hl_mshv_vp_state args;
    uint8_t area[HL_MSHV_PAGE] = {0};

    int err = fake_copy_in(&args, argument, sizeof args);
    if (err < 0)
        return err;
    /* The kernel has other types of state; the fake has not. */
    if (args.type != HL_MSHV_STATE_XSAVE ||
        !fake_is_zero(args.reserved, sizeof args.reserved) || args.size == 0 ||
        args.size % HL_MSHV_PAGE || args.buffer % HL_MSHV_PAGE)
        return -EINVAL;
    err = fake_copy_out(argument + offsetof(struct hl_mshv_vp_state, size),
                        &size, sizeof size);
    if (err < 0)
        return err;
    if (set) {
        err = fake_copy_in(area, args.buffer, size);
        return err < 0 ? err : fake_cpu_set_xsave(vp->cpu, area);
    }
    err = fake_cpu_get_xsave(vp->cpu, area);
    return err < 0 ? err : fake_copy_out(args.buffer, area, size);
}
