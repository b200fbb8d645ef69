/* A tracker as CONTRIBUTING.md says: sigsegv under another name. */
#include "track/track.h"
#include "track/trap.h"

static int probe(char *why) { return hl_track_sigsegv.probe(why); }

static int dummy_open(void *addr, size_t page_count, struct hl_tracker **out,
                      char *why)
{
    int err = hl_track_sigsegv.open(addr, page_count, out, why);

    if (err == 0)
        (*out)->ops = &hl_track_dummy;
    return err;
}

static void dummy_close(struct hl_tracker *t, bool forked)
{
    hl_track_sigsegv.close(t, forked);
}

const struct hl_tracker_ops hl_track_dummy = {
    .name = "dummy",
    .arms = true,
    .splits_mappings = true,
    .uses_signal = true,
    .kinds = HL_KIND_PRIVATE | HL_KIND_SHARED,
    .probe = probe,
    .open = dummy_open,
    .collect = hl_trap_collect,
    .arm = hl_trap_arm,
    .leave_unarmed = hl_trap_leave_unarmed,
    .arm_first = hl_arm_first_by_look,
    .disarm = hl_trap_disarm,
    .close = dummy_close,
};
