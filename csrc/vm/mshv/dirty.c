/* mshv: the hypervisor's dirty bits as a tracker of what a guest writes
 * (asking.h). */
#include <stdlib.h>
#include <string.h>

#include "vm/asking.h"
#include "vm/mshv/machine.h"

struct dirty {
    struct hl_asking asking; /* first: they are cast to each other */
    struct hl_mshv *mshv;
    unsigned char room[HL_ASKING_PIECE]; /* for the interface */
};

static int ask(struct hl_asking *a, uint64_t gpa, size_t page_count,
               uint64_t *bits)
{
    struct dirty *d = (struct dirty *)a;
    const struct hl_mshv *m = d->mshv;

    return m->interface->take_dirty(m, gpa / HL_MSHV_PAGE, page_count, bits,
                                    d->room);
}

static void dirty_close(struct hl_tracker *t, bool forked)
{
    (void)forked;
    hl_asking_end((struct hl_asking *)t);
    free(t);
}

const struct hl_tracker_ops hl_mshv_dirty_ops = {
    .name = "mshv",
    .kernel_writes = false,
    .arms = true,
    .collect_cost = 12, /* a system call */
    .collect_pages = 64,
    .collect = hl_asking_collect,
    .arm = hl_asking_arm,
    .leave_unarmed = hl_asking_leave_unarmed,
    .arm_first = hl_arm_first_by_look,
    .disarm = hl_asking_disarm,
    .close = dirty_close,
};

static int start(struct dirty *d, char *why)
{
    struct hl_mshv *m = d->mshv;

    if (!m->tracks) {
        int err = m->interface->track(m);
        if (err < 0)
            return hl_why(why, err,
                          "HvPartitionPropertyGpaPageAccessTracking: %s",
                          strerror(-err));
        m->tracks = true;
    }
    int err = hl_asking_begin(&d->asking);
    if (err < 0)
        return hl_why(why, err, "asking for dirty pages: %s", strerror(-err));
    return 0;
}

int hl_mshv_dirty_open(struct hl_vm *vm, void *memory, size_t page_count,
                       struct hl_tracker **out, char *why)
{
    struct dirty *d = calloc(1, sizeof *d);

    if (d == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    d->mshv = hl_mshv_of(vm);
    d->asking.ask = ask;
    int err = hl_asking_init(&d->asking, &hl_mshv_dirty_ops, &d->mshv->config,
                             memory, page_count);
    if (err < 0)
        (void)hl_why(why, err, "out of memory");
    else
        err = start(d, why);
    if (err < 0) {
        dirty_close(&d->asking.tracker, false);
        return err;
    }
    *out = &d->asking.tracker;
    return 0;
}
