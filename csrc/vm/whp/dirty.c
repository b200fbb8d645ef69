/* whp: WHvQueryGpaRangeDirtyBitmap as a tracker of what a guest writes
 * (asking.h).  A query reports and forgets; the bitmap is of whole words, also
 * where the pages are not. */
#include <stdlib.h>

#include "vm/asking.h"
#include "vm/whp/machine.h"

struct dirty {
    struct hl_asking asking; /* first: they are cast to each other */
    const struct hl_whp *whp;
};

int hl_whp_query(const struct hl_whp *m, uint64_t gpa, size_t page_count,
                 uint64_t *bits)
{
    const size_t words = (page_count + 63) / 64;

    return hl_whp_errno(m->calls->query_dirty(m->partition, gpa,
                                              page_count * HL_WHP_PAGE, bits,
                                              (UINT32)(words * sizeof *bits)));
}

static int ask(struct hl_asking *a, uint64_t gpa, size_t page_count,
               uint64_t *bits)
{
    return hl_whp_query(((struct dirty *)a)->whp, gpa, page_count, bits);
}

static void dirty_close(struct hl_tracker *t, bool forked)
{
    (void)forked;
    hl_asking_end((struct hl_asking *)t);
    free(t);
}

const struct hl_tracker_ops hl_whp_dirty_ops = {
    .name = "whp",
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

int hl_whp_dirty_open(struct hl_vm *vm, void *memory, size_t page_count,
                      struct hl_tracker **out, char *why)
{
    const struct hl_whp *m = hl_whp_of(vm);

    if (m->untracked[0] != 0)
        return hl_why(why, -EOPNOTSUPP, "%s", m->untracked);
    struct dirty *d = calloc(1, sizeof *d);
    if (d == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    d->whp = m;
    d->asking.ask = ask;
    int err = hl_asking_init(&d->asking, &hl_whp_dirty_ops, &m->config, memory,
                             page_count);
    if (err < 0) {
        (void)hl_why(why, err, "out of memory");
    } else {
        err = hl_asking_begin(&d->asking);
        if (err < 0)
            (void)hl_why(why, err, "WHvQueryGpaRangeDirtyBitmap: %s",
                         hl_strerror(-err));
    }
    if (err < 0) {
        dirty_close(&d->asking.tracker, false);
        return err;
    }
    *out = &d->asking.tracker;
    return 0;
}
