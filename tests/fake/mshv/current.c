/* The current interface: checks and conversions, as the kernel has them. */
#include "fake/mshv/interface.h"

#include <stdlib.h>

#define FLAGS 15     /* of partitions */
#define ISOLATIONS 2 /* kinds of them */
#define MEMORY_FLAGS                                                          \
    (HL_MSHV_MEMORY_WRITABLE | HL_MSHV_MEMORY_EXECUTABLE |                    \
     HL_MSHV_MEMORY_UNMAP)

static enum fake_kind hvcall_kind(uint64_t argument)
{
    struct hl_mshv_hvcall args;

    if (fake_copy_in(&args, argument, sizeof args) < 0)
        return FAKE_OTHER;
    return args.code == HL_HVCALL_SET_PARTITION_PROPERTY ? FAKE_PROPERTY
           : args.code == HL_HVCALL_GET_VP_REGISTERS     ? FAKE_GET_REGISTERS
           : args.code == HL_HVCALL_SET_VP_REGISTERS     ? FAKE_SET_REGISTERS
                                                         : FAKE_OTHER;
}

static enum fake_kind memory_kind(uint64_t argument)
{
    struct hl_mshv_memory args;

    return fake_copy_in(&args, argument, sizeof args) == 0 &&
                   args.flags & HL_MSHV_MEMORY_UNMAP
               ? FAKE_UNMAP
               : FAKE_MAP;
}

enum fake_kind fake_current_kind(bool vp, unsigned long request,
                                 uint64_t argument)
{
    switch (request) {
    case HL_MSHV_ROOT_HVCALL:
        return hvcall_kind(argument);
    case HL_MSHV_RUN_VP:
        return vp ? FAKE_RUN : FAKE_OTHER;
    case HL_MSHV_GET_VP_STATE:
        return vp ? FAKE_GET_STATE : FAKE_OTHER;
    case HL_MSHV_SET_VP_STATE:
        return vp ? FAKE_SET_STATE : FAKE_OTHER;
    case HL_MSHV_INITIALIZE_PARTITION:
        return vp ? FAKE_OTHER : FAKE_INITIALIZE;
    case HL_MSHV_CREATE_VP:
        return vp ? FAKE_OTHER : FAKE_CREATE_VP;
    case HL_MSHV_SET_GUEST_MEMORY:
        return vp ? FAKE_OTHER : memory_kind(argument);
    case HL_MSHV_GET_ACCESS_BITMAP:
        return vp ? FAKE_OTHER : FAKE_QUERY;
    default:
        return FAKE_OTHER;
    }
}

int fake_current_check_partition(uint64_t argument)
{
    struct hl_mshv_create_partition args;
    int err = fake_copy_in(&args, argument, sizeof args);

    if (err < 0)
        return err;
    return args.flags & ~(uint64_t)FLAGS || args.isolation >= ISOLATIONS
               ? -EINVAL
               : 0;
}

static int set_memory(struct fake_partition *p, uint64_t argument)
{
    struct hl_mshv_memory args;
    int err = fake_copy_in(&args, argument, sizeof args);

    if (err < 0)
        return err;
    const struct fake_slot slot = {
        .addr = args.guest_pfn * HL_MSHV_PAGE,
        .size = args.size,
        .host = args.userspace_addr,
        .writable = args.flags & HL_MSHV_MEMORY_WRITABLE,
    };
    if (args.size == 0 || args.size % HL_MSHV_PAGE ||
        args.userspace_addr % HL_MSHV_PAGE || args.flags & ~MEMORY_FLAGS ||
        !fake_is_zero(args.reserved, sizeof args.reserved))
        return -EINVAL;
    if (args.flags & HL_MSHV_MEMORY_UNMAP)
        return fake_region_unmap(p, &slot);
    return fake_region_map(p, &slot, args.flags & HL_MSHV_MEMORY_EXECUTABLE);
}

/* NOOP is not one: what is not to be cleared is set. */
static void choose(const struct hl_mshv_access_bitmap *args,
                   struct fake_query *q)
{
    const bool dirty = args->type == HL_MSHV_ACCESS_DIRTY;

    if (args->op == HL_MSHV_OP_CLEAR)
        q->clear = dirty ? FAKE_DIRTY : FAKE_ACCESSED | FAKE_DIRTY;
    else if (args->op == HL_MSHV_OP_SET || !fake_mshv_switched(FAKE_PEEK))
        q->set = dirty ? FAKE_ACCESSED | FAKE_DIRTY : FAKE_ACCESSED;
}

static int answer(const struct hl_mshv_access_bitmap *args,
                  const struct fake_query *q)
{
    const uint8_t wanted =
        args->type == HL_MSHV_ACCESS_DIRTY ? FAKE_DIRTY : FAKE_ACCESSED;
    const uint64_t size = (args->page_count + 7) / 8;
    uint8_t *bitmap = calloc(size, 1);

    if (bitmap == NULL)
        return -ENOMEM;
    for (uint64_t i = 0; i < q->done; i++)
        if (q->states[i] & wanted)
            bitmap[i / 8] |= (uint8_t)(1 << i % 8);
    if (fake_mshv_switched(FAKE_STRAY_BITS) && args->page_count % 8)
        bitmap[size - 1] |= (uint8_t)(0xff << args->page_count % 8);
    int err = fake_copy_out(args->bitmap, bitmap, size);
    free(bitmap);
    return err;
}

static int get_access_bitmap(struct fake_partition *p, uint64_t argument)
{
    struct hl_mshv_access_bitmap args;
    int err = fake_copy_in(&args, argument, sizeof args);

    if (err < 0)
        return err;
    if (args.type > HL_MSHV_ACCESS_DIRTY || args.op > HL_MSHV_OP_SET ||
        !fake_is_zero(args.reserved, sizeof args.reserved) ||
        args.page_count == 0 || args.bitmap == 0)
        return -EINVAL;
    if (args.page_count > (uint64_t)1 << 33)
        return -ENOMEM; /* for a byte a page */
    struct fake_query q = {
        .page = args.gpa_page,
        .count = (uint32_t)args.page_count, /* as the kernel hands it on */
    };
    q.states = calloc(args.page_count, 1);
    if (q.states == NULL)
        return -ENOMEM;
    choose(&args, &q);
    err = fake_query(p, &q);
    if (err == 0)
        err = answer(&args, &q);
    free(q.states);
    return err;
}

int fake_current_call(struct fake_partition *p, unsigned long request,
                      uint64_t argument)
{
    switch (request) {
    case HL_MSHV_INITIALIZE_PARTITION:
        p->initialized = true;
        return 0;
    case HL_MSHV_SET_GUEST_MEMORY:
        return set_memory(p, argument);
    case HL_MSHV_GET_ACCESS_BITMAP:
        return get_access_bitmap(p, argument);
    case HL_MSHV_ROOT_HVCALL:
        return fake_hvcall(p, NULL, argument);
    default:
        return -ENOTTY;
    }
}

int fake_current_vp_call(struct fake_vp *vp, unsigned long request,
                         uint64_t argument)
{
    switch (request) {
    case HL_MSHV_RUN_VP:
        return fake_vp_run(vp, argument);
    case HL_MSHV_GET_VP_STATE:
        return fake_vp_move_xsave(vp, argument, false);
    case HL_MSHV_SET_VP_STATE:
        return fake_vp_move_xsave(vp, argument, true);
    case HL_MSHV_ROOT_HVCALL:
        return fake_hvcall(vp->partition, vp, argument);
    default:
        return -ENOTTY;
    }
}
