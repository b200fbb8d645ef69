/* kvm-log: KVM's dirty bitmap as a tracker of what a guest writes
 * (Documentation/virt/kvm/api.rst, KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG).
 *
 * Reading the log does not clear it (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, Linux
 * 5.2), so that arming is one call for the cold pages of a slot, hot pages
 * simply stay as they are, and a take that fails has lost nothing.  First
 * write: about 3 us; collect: a call and a copy of the bitmap, 6 us a GiB.
 *
 * Neither the log nor a ring reports writes by the host.  Memory that the host
 * writes without reporting lies outside of the logged slots. */
#include "vm/kvm/machine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "inject.h"
#include "os/map.h"
_Static_assert(KVM_GET_DIRTY_LOG == 0x4010ae42, "linux/kvm.h");
_Static_assert(KVM_CLEAR_DIRTY_LOG == 0xc018aec0, "linux/kvm.h");

struct log {
    struct hl_tracker tracker; /* first: they are cast to each other */
    struct hl_kvm *kvm;
    struct hl_pages open; /* reported whatever the log says */
    uint64_t *bits;       /* of one slot */
};

static int collect_slot(struct log *log, uint32_t number, struct hl_run pages,
                        struct hl_pages *dirty)
{
    struct kvm_dirty_log get = {.slot = number, .dirty_bitmap = log->bits};
    struct hl_run run;

    if (ioctl(log->kvm->vm_fd, KVM_GET_DIRTY_LOG, &get) < 0)
        return -errno;
    for (size_t at = 0; hl_run_next(log->bits, pages.count, &at, &run);) {
        run.first += pages.first;
        hl_pages_add_range(dirty, run);
    }
    return 0;
}

static int collect(struct hl_tracker *t, struct hl_pages *dirty)
{
    struct log *log = (struct log *)t;
    const struct hl_vm_config *config = &log->kvm->config;
    int err = HL_INJECT(HL_INJECT_COLLECT) ? -ENOMEM : 0;

    hl_pages_or(dirty, &log->open);
    for (uint32_t i = 0; i < config->slot_count && err == 0; i++)
        if (config->slots[i].logged)
            err = collect_slot(log, i, hl_kvm_slot_pages(t, &config->slots[i]),
                               dirty);
    return err;
}

/* One call: from the first to the last word of the slot that holds any of the
 * pages.  The others' bits are zero, which leaves them alone. */
static int arm_slot(struct log *log, uint32_t number, struct hl_run slot,
                    const struct hl_pages *pages)
{
    size_t end = slot.first + slot.count, first = slot.count, last = 0;
    struct hl_run run;

    for (size_t at = slot.first; hl_pages_run(pages, &at, &run);) {
        if (run.first >= end)
            break;
        if (run.count > end - run.first)
            run.count = end - run.first;
        run.first -= slot.first;
        if (first == slot.count) {
            first = run.first / 64 * 64;
            memset(&log->bits[first / 64], 0,
                   (hl_bitmap_words(slot.count) - first / 64) * 8);
        }
        last = run.first + run.count;
        hl_bitmap_set_range(log->bits, run.first, run.count);
    }
    if (first == slot.count)
        return 0;
    /* Whole words, but at the slot's end. */
    last = (last + 63) / 64 * 64;
    if (last > slot.count)
        last = slot.count;
    struct kvm_clear_dirty_log clear = {
        .slot = number,
        .first_page = first,
        .num_pages = (uint32_t)(last - first),
        .dirty_bitmap = &log->bits[first / 64],
    };
    if (HL_INJECT(HL_INJECT_ARM))
        return -ENOMEM;
    return ioctl(log->kvm->vm_fd, KVM_CLEAR_DIRTY_LOG, &clear) < 0 ? -errno
                                                                   : 0;
}

static void arm(struct hl_tracker *t, const struct hl_pages *pages)
{
    struct log *log = (struct log *)t;
    const struct hl_vm_config *config = &log->kvm->config;
    int err = 0;

    hl_pages_andnot(&log->open, pages);
    for (uint32_t i = 0; i < config->slot_count && err == 0; i++)
        if (config->slots[i].logged)
            err = arm_slot(log, i, hl_kvm_slot_pages(t, &config->slots[i]),
                           pages);
    if (err < 0)
        hl_pages_or(&log->open, pages);
}

static void leave_unarmed(struct hl_tracker *t, const struct hl_pages *pages)
{
    hl_pages_or(&((struct log *)t)->open, pages);
}

/* The host's own writes meet no protection. */
static void disarm(struct hl_tracker *t, struct hl_run run)
{
    (void)t;
    (void)run;
}

static void log_close(struct hl_tracker *t, bool forked)
{
    struct log *log = (struct log *)t;

    (void)forked;
    hl_pages_free(&log->open);
    free(log->bits);
    free(log);
}

const struct hl_tracker_ops hl_kvm_log_ops = {
    .name = "kvm-log",
    .kernel_writes = false,
    .arms = true,
    .collect_cost = 12, /* a system call */
    .collect = collect,
    .arm = arm,
    .leave_unarmed = leave_unarmed,
    .arm_first = hl_arm_first_by_look,
    .disarm = disarm,
    .close = log_close,
};

int hl_kvm_log_open(struct hl_vm *vm, void *memory, size_t page_count,
                    struct hl_tracker **out, char *why)
{
    struct hl_kvm *k = hl_kvm_of(vm);
    struct kvm_enable_cap cap = {
        .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
        .args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE,
    };
    if (ioctl(k->vm_fd, KVM_ENABLE_CAP, &cap) < 0)
        return hl_why(why, -errno,
                      "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: %s (Linux 5.2 is "
                      "needed)",
                      strerror(errno));

    struct log *log = calloc(1, sizeof *log);
    if (log == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    log->bits = calloc(hl_bitmap_words(page_count), sizeof *log->bits);
    if (log->bits == NULL || hl_pages_init(&log->open, page_count) < 0) {
        free(log->bits);
        free(log);
        return hl_why(why, -ENOMEM, "out of memory");
    }
    hl_pages_fill(&log->open);
    log->tracker = (struct hl_tracker){.ops = &hl_kvm_log_ops,
                                       .addr = memory,
                                       .page_count = page_count,
                                       .page_size = hl_page_size()};
    log->kvm = k;
    *out = &log->tracker;
    return 0;
}
