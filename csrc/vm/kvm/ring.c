/* kvm-ring: KVM's dirty ring as a tracker of what a guest writes
 * (Documentation/virt/kvm/api.rst, KVM_CAP_DIRTY_LOG_RING).
 *
 * The ring is shared memory: the first write to a protected page adds an entry
 * and opens the page.  Collecting is reading what is new, no system call.  One
 * call, KVM_RESET_DIRTY_RINGS, protects the pages of the oldest entries again.
 *
 * Entries are therefore kept, not given back at once: each can be used to
 * protect one page later, any page, since entries can be rewritten.  Hot pages
 * stay open, so a loop that only writes to hot pages makes no call.
 *
 * When the ring is full, in the middle of a call, its pages are noted and its
 * entries given back for nothing: what the guest may write to it may go on
 * writing to.  So a page costs one fault however many others are written, and
 * there may be more such pages than entries.
 *
 * Later some of these may have to be protected, by entries that were given
 * back; and behind the last such entry one more is needed (R5).  For entries
 * that are lacking KVM is made to add some (spare.c), or slots are protected
 * as a whole, which costs each page that was to stay open a fault.  Where KVM
 * adds none, a few pages stay open that were to be protected (MOST_LEFT): they
 * are reported although they may be clean. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "inject.h"
#include "os/map.h"
#include "vm/kvm/ring.h"

/* Protecting slots as a whole takes up to a millisecond, in which so many
 * entries can be added; and adding one takes less than a fault. */
#define WHOLE_COSTS 512

/* Pages that stay open for want of entries. */
#define MOST_LEFT 16

static int collect(struct hl_tracker *t, struct hl_pages *dirty)
{
    struct hl_kvm_ring *r = (struct hl_kvm_ring *)t;

    int err = hl_kvm_ring_harvest(r);
    hl_pages_or(dirty, &r->open);
    if (err == 0 && r->guess)
        err = -EOVERFLOW;
    return HL_INJECT(HL_INJECT_COLLECT) ? -ENOMEM : err;
}

/* Turning the log off and on protects every page of a slot. */
static int protect_everything(struct hl_kvm_ring *r)
{
    const struct hl_vm_config *config = &r->kvm->config;

    hl_let_others_run();
    int err = hl_kvm_ring_harvest(r);
    if (err < 0)
        return err;
    for (uint32_t i = 0; i < config->slot_count; i++) {
        const struct hl_vm_slot *slot = &config->slots[i];
        struct kvm_userspace_memory_region region = {
            .slot = i,
            .guest_phys_addr = slot->addr,
            .memory_size = slot->size,
            .userspace_addr = (uintptr_t)slot->host,
        };
        if (!slot->logged)
            continue;
        if (ioctl(r->kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
            return -errno;
        region.flags = KVM_MEM_LOG_DIRTY_PAGES;
        if (ioctl(r->kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
            return -errno;
    }
    hl_pages_empty(&r->writable);
    r->short_of = r->guess = false;
    return hl_kvm_ring_give_all_back(r);
}

/* Make the oldest entry protect this page. */
static void give_page(struct hl_kvm_ring *r, size_t page)
{
    const struct hl_vm_config *config = &r->kvm->config;
    struct hl_run slot = {0, 0};
    uint32_t i = 0;

    for (; page - slot.first >= slot.count; i++)
        slot = config->slots[i].logged
                   ? hl_kvm_slot_pages(&r->tracker, &config->slots[i])
                   : (struct hl_run){0, 0};
    hl_kvm_ring_give_back(r, i - 1, page - slot.first);
}

/* How many of the pages are in `writable`. */
static size_t count_writable(const struct hl_kvm_ring *r,
                             const struct hl_pages *pages)
{
    size_t count = 0;

    /* `pages` may be all of them, `writable` is what the guest wrote. */
    for (size_t word = 0; hl_pages_word(&r->writable, &word); word++)
        count += hl_bits_count(pages->bits[word] & r->writable.bits[word]);
    return count;
}

/* Whether to protect slots as a whole: where it is not known which pages to
 * protect, or cheaper than adding the entries that so many pages lack.  Either
 * way it takes no longer than the guest took to open these pages. */
static bool as_a_whole(const struct hl_kvm_ring *r, size_t count)
{
    size_t needed = count + 1; /* R5 */

    if (r->short_of || count == 0 || needed <= hl_kvm_ring_kept(r))
        return r->short_of;
    size_t lacking = needed - hl_kvm_ring_kept(r);
    if (r->no_spare)
        return lacking > MOST_LEFT;
    return lacking > WHOLE_COSTS &&
           lacking - WHOLE_COSTS > hl_pages_count(&r->writable) - count;
}

/* Have the kernel take the entries of pages, with one behind them (R5). */
static int reset_pages(struct hl_kvm_ring *r)
{
    hl_kvm_ring_give_back(r, HL_KVM_NO_SLOT, 0);
    return hl_kvm_ring_reset(r);
}

/* Protect those of the pages that are in `writable`, by one entry each: as
 * many at a time as there are entries, then more of them are added.  Without
 * any the rest stays open, and in `writable`; as do all if this fails. */
static int protect(struct hl_kvm_ring *r, const struct hl_pages *pages)
{
    bool any = false, left = false;
    int err = 0;

    for (size_t word = 0; hl_pages_word(pages, &word); word++) {
        uint64_t bits = pages->bits[word] & r->writable.bits[word];
        for (; bits; bits &= bits - 1) {
            size_t page = word * 64 + (size_t)__builtin_ctzll(bits);
            if (!left && hl_kvm_ring_kept(r) < 2) {
                err = any ? reset_pages(r) : 0;
                if (err < 0)
                    return err;
                any = false;
                hl_kvm_ring_make_spare(r);
            }
            left = left || hl_kvm_ring_kept(r) < 2;
            if (left)
                hl_pages_add(&r->open, page);
            else
                give_page(r, page);
            any = any || !left;
        }
    }
    err = any ? reset_pages(r) : 0;
    if (err == 0 && !left)
        hl_pages_andnot(&r->writable, pages);
    return err;
}

static void arm(struct hl_tracker *t, const struct hl_pages *pages)
{
    struct hl_kvm_ring *r = (struct hl_kvm_ring *)t;
    size_t count = count_writable(r, pages);
    bool whole = as_a_whole(r, count);
    int err = -ENOMEM;

    hl_pages_andnot(&r->open, pages);
    if (!HL_INJECT(HL_INJECT_ARM))
        err = whole ? protect_everything(r) : count ? protect(r, pages) : 0;
    if (err == 0)
        return;
    hl_pages_or(&r->open, pages);
    if (whole) { /* a slot that is not logged protects nothing */
        r->short_of = r->guess = true;
        hl_pages_fill(&r->open);
    }
}

static void leave_unarmed(struct hl_tracker *t, const struct hl_pages *pages)
{
    hl_pages_or(&((struct hl_kvm_ring *)t)->open, pages);
}

/* The host's own writes meet no protection. */
static void disarm(struct hl_tracker *t, struct hl_run run)
{
    (void)t;
    (void)run;
}

static void free_ring(struct hl_kvm_ring *r)
{
    hl_pages_free(&r->open);
    hl_pages_free(&r->writable);
    free(r);
}

static void ring_close(struct hl_tracker *t, bool forked)
{
    struct hl_kvm_ring *r = (struct hl_kvm_ring *)t;

    (void)forked;
    r->kvm->ring = NULL;
    free_ring(r);
}

const struct hl_tracker_ops hl_kvm_ring_ops = {
    .name = "kvm-ring",
    .kernel_writes = false,
    .arms = true,
    .collect_cost = 1,
    .collect = collect,
    .arm = arm,
    .leave_unarmed = leave_unarmed,
    .arm_first = hl_arm_first_by_look,
    .disarm = disarm,
    .close = ring_close,
};

int hl_kvm_ring_open(struct hl_vm *vm, void *memory, size_t page_count,
                     struct hl_tracker **out, char *why)
{
    struct hl_kvm *k = hl_kvm_of(vm);
    if (k->ring_size == 0)
        return hl_why(why, -EOPNOTSUPP,
                      "this kernel's KVM has no dirty rings: Linux 5.11 is "
                      "needed");
    struct hl_kvm_ring *r = calloc(1, sizeof *r);
    if (r == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    r->tracker = (struct hl_tracker){.ops = &hl_kvm_ring_ops,
                                     .addr = memory,
                                     .page_count = page_count,
                                     .page_size = hl_page_size()};
    r->kvm = k;
    r->size = k->ring_size;
    r->entries = (void *)((char *)k->kvm_run + HL_KVM_RING_AT);
    int err = 0;
    if (hl_pages_init(&r->open, page_count) < 0 ||
        hl_pages_init(&r->writable, page_count) < 0)
        err = hl_why(why, -ENOMEM, "out of memory");
    if (err < 0) {
        free_ring(r);
        return err;
    }
    hl_pages_fill(&r->open);
    k->ring = r;
    *out = &r->tracker;
    return 0;
}
