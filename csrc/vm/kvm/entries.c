/* The entries of the dirty ring: harvested, kept, given back.
 *
 * The kernel has some entries in reserve for what a guest does before it looks
 * again whether the ring is full.  Where it interprets the guest they are too
 * few: each write of a REP instruction takes an entry, whatever page it is to,
 * and from one look to the next there may be thousands.  Then the kernel fills
 * entries a second time, kept ones too.  That this has happened can be seen,
 * since only then is the ring full to its last entry; how often, cannot.  So
 * every page counts as written (`guess`), and where the kernel is shows at the
 * next entry that it fills.
 *
 * R5 is there because since Linux 6.16 KVM_RESET_DIRTY_RINGS ends early where
 * a signal is pending (also where the process is stopped, frozen or traced, or
 * io_uring has work for the thread), and the pages of the entries that it took
 * last, up to 64, are not protected.  Behind the last entry its result does
 * not show that.  It protects what it has gathered when it meets an entry of
 * another slot, so what may be lost is the entry that names no page. */
#include <sys/ioctl.h>

#include "vm/kvm/ring.h"

/* How often signals may keep the kernel from taking a single entry. */
#define MOST_IN_VAIN 1000

void hl_kvm_ring_give_back(struct hl_kvm_ring *r, uint32_t slot,
                           uint64_t offset)
{
    struct kvm_dirty_gfn *e = hl_kvm_ring_entry(r, r->oldest++);

    e->slot = slot;
    e->offset = offset;
    __atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
}

int hl_kvm_ring_reset(struct hl_kvm_ring *r)
{
    int err = 0, in_vain = 0;

    while (r->taken != r->oldest) {
        int taken = ioctl(r->kvm->vm_fd, KVM_RESET_DIRTY_RINGS, 0);
        if (taken < 0 && errno != EINTR)
            return -errno;
        if (taken > 0)
            in_vain = 0;
        else if (++in_vain == MOST_IN_VAIN)
            return -EIO;
        else
            taken = 0;
        if ((uint32_t)taken > r->oldest - r->taken)
            return -EIO;
        r->taken += (uint32_t)taken;
        if (r->taken != r->oldest)
            err = -EINTR;
    }
    return err;
}

/* Protects nothing. */
static int give_many_back(struct hl_kvm_ring *r, size_t count)
{
    for (size_t i = 0; i < count; i++)
        hl_kvm_ring_give_back(r, HL_KVM_NO_SLOT, 0);
    int err = hl_kvm_ring_reset(r);
    return err == -EINTR ? 0 : err;
}

int hl_kvm_ring_give_all_back(struct hl_kvm_ring *r)
{
    return give_many_back(r, r->next - r->oldest);
}

static void note(struct hl_kvm_ring *r, const struct kvm_dirty_gfn *e)
{
    const struct hl_vm_config *config = &r->kvm->config;

    if (e->slot >= config->slot_count || !config->slots[e->slot].logged)
        return;
    struct hl_run pages =
        hl_kvm_slot_pages(&r->tracker, &config->slots[e->slot]);
    if (e->offset >= pages.count)
        return;
    size_t page = pages.first + e->offset;
    hl_pages_add(&r->open, page);
    hl_pages_add(&r->writable, page);
}

/* What was given back and not taken. */
static void take_back(struct hl_kvm_ring *r)
{
    while (r->oldest != r->taken)
        if (!hl_kvm_ring_is_new(r, --r->oldest))
            hl_kvm_ring_entry(r, r->oldest)->flags = 0;
}

/* It is unknown what was written, and where the kernel is.  Give this many
 * entries back, starting with the one that the kernel takes next. */
static int lose(struct hl_kvm_ring *r, size_t count)
{
    r->lost = r->short_of = r->guess = true;
    hl_pages_fill(&r->open);
    take_back(r);
    r->next = r->oldest + (uint32_t)count;
    return give_many_back(r, count);
}

/* Of a lost ring: how many entries are clear before a new one.  size: all are
 * clear, or all are new. */
static size_t count_clear(const struct hl_kvm_ring *r)
{
    size_t i = 0;

    while (i < r->size &&
           (hl_kvm_ring_is_new(r, r->oldest + (uint32_t)i - 1) ||
            !hl_kvm_ring_is_new(r, r->oldest + (uint32_t)i)))
        i++;
    return i;
}

int hl_kvm_ring_harvest(struct hl_kvm_ring *r)
{
    size_t passed = 0;

    if (r->lost) {
        take_back(r);
        passed = count_clear(r);
    }
    if (passed == r->size)
        return hl_kvm_ring_is_new(r, r->oldest) ? lose(r, r->size) : 0;
    uint32_t first = r->taken + (uint32_t)passed;
    if (r->lost)
        r->next = first;
    for (; r->next - first < r->size && hl_kvm_ring_is_new(r, r->next);
         r->next++)
        note(r, hl_kvm_ring_entry(r, r->next));
    /* Every entry is new or kept, and some may have been another before. */
    if (!r->lost)
        return r->next - first == r->size ? lose(r, r->size) : 0;
    r->lost = false;
    /* Where that fails, entries that were noted may be where the kernel fills
     * the next ones, which would be passed over. */
    if (give_many_back(r, passed) == 0)
        return 0;
    size_t filled = r->next - r->taken;
    return lose(r, filled < r->size ? filled : r->size);
}

int hl_kvm_ring_full(struct hl_kvm *k)
{
    struct hl_kvm_ring *r = k->ring;

    if (r == NULL)
        return -EIO; /* nobody collects: the caller forgot to */
    uint32_t taken = r->taken;
    int err = hl_kvm_ring_harvest(r);
    if (err < 0)
        return err;
    if (!r->lost && r->oldest != r->next)
        return hl_kvm_ring_give_all_back(r);
    if (r->taken != taken)
        return 0; /* there is room again */
    /* Full, although no entry is new or kept: the kernel is further than we
     * know, where it is lost or went once around the ring unseen.  From this
     * many on it says that it is full; half of them, for a later kernel may
     * say so earlier. */
    return lose(r, (r->size - HL_KVM_RING_RESERVED) / 2);
}
