/* mshv: the hypervisor's dirty bits as a tracker of what a guest writes.
 *
 * A query costs by the pages that it asks about, whatever they hold: 5 ns a
 * page.  It reports and clears in one, and there is no mere look.  So what it
 * reported is kept here until it is armed; a take that fails has lost nothing.
 * Pages that are left unarmed count as dirty, and where all of a piece are, it
 * is not asked about.  What was written there is reported once more after they
 * are armed, which is too much, but not too little.
 *
 *  D1. A page that the guest wrote since it was armed is in `found` or has its
 *      bit set in the hypervisor.
 *  D2. If a query fails, all that it was about counts as found: it may have
 *      cleared some of it.
 *
 * From switching on to the first query all pages are reported: that answer is
 * thrown away, since no page is armed by then (T1). */
#include <stdlib.h>
#include <string.h>

#include "inject.h"
#include "os/others.h"
#include "vm/mshv/machine.h"

#define COST_ASK 5 /* ns a page */

struct dirty {
    struct hl_tracker tracker; /* first: they are cast to each other */
    struct hl_mshv *mshv;
    struct hl_pages open;  /* reported whatever the hypervisor says */
    struct hl_pages found; /* reported by it, and not armed since */
    uint64_t bits[HL_MSHV_PIECE / 64]; /* of one piece */
    unsigned char room[HL_MSHV_PIECE]; /* for the interface */
};

/* Some kernels set bits behind the last page. */
static void add_bits(struct dirty *d, struct hl_run piece)
{
    struct hl_run run;

    for (size_t at = 0; hl_run_next(d->bits, piece.count, &at, &run);) {
        run.first += piece.first;
        hl_pages_add_range(&d->found, run);
    }
}

/* piece: pages as the tracker counts them; gpa: of its first. */
static int ask(struct dirty *d, struct hl_run piece, uint64_t gpa)
{
    const struct hl_mshv *m = d->mshv;
    int err = -EAGAIN;

    hl_spend(HL_COST_CALL + piece.count * COST_ASK);

    for (int i = 0; i < HL_MSHV_TRIES && (err == -EAGAIN || err == -EINTR);
         i++) {
        memset(d->bits, 0, sizeof d->bits);
        err = m->interface->take_dirty(m, gpa / HL_MSHV_PAGE, piece.count,
                                       d->bits, d->room);
        if (err == 0 && HL_INJECT(HL_INJECT_COLLECT))
            err = -ENOMEM;
        if (err < 0)
            hl_pages_add_range(&d->found, piece); /* D2 */
    }
    if (err == 0)
        add_bits(d, piece);
    return err;
}

static bool is_all_open(const struct dirty *d, struct hl_run piece)
{
    struct hl_run run = {0};
    size_t at = piece.first;

    return hl_pages_run(&d->open, &at, &run) && run.first <= piece.first &&
           run.first + run.count >= piece.first + piece.count;
}

static int ask_slot(struct dirty *d, const struct hl_vm_slot *slot)
{
    size_t first =
        (size_t)((char *)slot->host - d->tracker.addr) / d->tracker.page_size;
    size_t count = slot->size / d->tracker.page_size;
    int err = 0;

    for (size_t done = 0; done < count && err == 0; done += HL_MSHV_PIECE) {
        struct hl_run piece = {first + done, count - done};
        if (piece.count > HL_MSHV_PIECE)
            piece.count = HL_MSHV_PIECE;
        if (!is_all_open(d, piece))
            err = ask(d, piece, slot->addr + done * d->tracker.page_size);
    }
    return err;
}

static int ask_all(struct dirty *d)
{
    const struct hl_vm_config *config = &d->mshv->config;
    int err = 0;

    for (size_t i = 0; i < config->slot_count && err == 0; i++)
        if (config->slots[i].logged)
            err = ask_slot(d, &config->slots[i]);
    return err;
}

static int collect(struct hl_tracker *t, struct hl_pages *dirty)
{
    struct dirty *d = (struct dirty *)t;

    int err = ask_all(d);
    hl_pages_or(dirty, &d->found);
    hl_pages_or(dirty, &d->open);
    return err;
}

static void arm(struct hl_tracker *t, const struct hl_pages *pages)
{
    struct dirty *d = (struct dirty *)t;

    if (HL_INJECT(HL_INJECT_ARM))
        return; /* they stay reported */
    hl_pages_andnot(&d->open, pages);
    hl_pages_andnot(&d->found, pages);
}

static void leave_unarmed(struct hl_tracker *t, const struct hl_pages *pages)
{
    hl_pages_or(&((struct dirty *)t)->open, pages);
}

/* The host's own writes meet no protection. */
static void disarm(struct hl_tracker *t, struct hl_run run)
{
    (void)t;
    (void)run;
}

static void dirty_close(struct hl_tracker *t, bool forked)
{
    struct dirty *d = (struct dirty *)t;

    (void)forked;
    hl_pages_free(&d->open);
    hl_pages_free(&d->found);
    free(d);
}

const struct hl_tracker_ops hl_mshv_dirty_ops = {
    .name = "mshv",
    .kernel_writes = false,
    .arms = true,
    .collect_cost = 12, /* a system call */
    .collect_pages = 64,
    .collect = collect,
    .arm = arm,
    .leave_unarmed = leave_unarmed,
    .arm_first = hl_arm_first_by_look,
    .disarm = disarm,
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
    int err = ask_all(d);
    if (err < 0)
        return hl_why(why, err, "asking for dirty pages: %s", strerror(-err));
    hl_pages_fill(&d->open);
    hl_pages_empty(&d->found);
    return 0;
}

int hl_mshv_dirty_open(struct hl_vm *vm, void *memory, size_t page_count,
                       struct hl_tracker **out, char *why)
{
    struct dirty *d = calloc(1, sizeof *d);
    int err = -ENOMEM;

    if (d == NULL)
        return hl_why(why, err, "out of memory");
    d->mshv = hl_mshv_of(vm);
    d->tracker = (struct hl_tracker){.ops = &hl_mshv_dirty_ops,
                                     .addr = memory,
                                     .page_count = page_count,
                                     .page_size = HL_MSHV_PAGE};
    if (hl_pages_init(&d->open, page_count) < 0 ||
        hl_pages_init(&d->found, page_count) < 0)
        (void)hl_why(why, err, "out of memory");
    else
        err = start(d, why);
    if (err < 0) {
        dirty_close(&d->tracker, false);
        return err;
    }
    *out = &d->tracker;
    return 0;
}
