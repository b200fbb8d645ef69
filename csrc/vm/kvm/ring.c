/* kvm-ring: KVM's dirty ring as a tracker of what a guest writes
 * (Documentation/virt/kvm/api.rst, KVM_CAP_DIRTY_LOG_RING).
 *
 * The ring is shared memory: the first write to a protected page adds an entry
 * and opens the page.  Collecting is reading what is new, no system call.  One
 * call, KVM_RESET_DIRTY_RINGS, protects the pages of the oldest entries again.
 *
 * Entries are therefore kept, not given back at once: each can be used to
 * protect one page later, any page, since entries can be rewritten.  Hot pages
 * stay open and keep theirs, so a loop that only writes to hot pages makes no
 * call.
 *
 *  R1. `open` holds every page that a guest can write to without an entry, and
 *      pages that are reported although they are protected.  `writable` and
 *      `owed` hold the former only, and all of them unless `short_of` is set.
 *  R2. Entries [oldest, next) are kept.  There is one for each page of
 *      `writable`, none for those of `owed`, and `spare` more; or `short_of`
 *      is set: entries were given back without protecting anything, and slots
 *      have to be protected as a whole the next time.
 *  R3. Entries that are not kept are clear, and the next one that the kernel
 *      fills is `next`; or `lost` is set: then that is any one, none is kept,
 *      and all are clear.
 *  R4. The next entry that the kernel takes back is `taken`.  That is
 *      `oldest`, unless the kernel failed to take what was given back: then it
 *      is asked again the next time.
 *  R5. Where pages are protected by entries, a last entry follows that names
 * no page.  If the kernel took that one too, in the same call, it protected
 *      every page before it.
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
 * another slot, so what may be lost is the entry that names no page.
 *
 * That entry is a spare one, which KVM is made to add (spare.c).  Where it
 * adds none, a page pays for it, stays open and is `owed` one: it is reported
 * although it may be clean.  Once MOST_OWED are, slots are protected as a
 * whole, which takes up to a millisecond. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "inject.h"
#include "os/map.h"
#include "vm/kvm/machine.h"

#define MOST_OWED 16

/* How often signals may keep the kernel from taking a single entry. */
#define MOST_IN_VAIN 1000

/* A slot that is never there: KVM passes over entries of such. */
#define NO_SLOT (HL_VM_SLOTS + 1)

struct hl_kvm_ring {
    struct hl_tracker tracker; /* first: they are cast to each other */
    struct hl_kvm *kvm;
    struct kvm_dirty_gfn *entries;
    size_t size;           /* a power of two */
    uint32_t oldest, next; /* R2; modulo size */
    uint32_t taken;        /* R4 */
    bool short_of;
    bool lost;                      /* R3 */
    bool guess;                     /* `open` holds more than was written */
    struct hl_pages open, writable; /* R1 */
    struct hl_pages owed;           /* R5 */
    size_t owed_count, spare;
    bool no_spare; /* KVM adds none */
};

static struct kvm_dirty_gfn *entry(const struct hl_kvm_ring *r, uint32_t at)
{
    return &r->entries[at & (r->size - 1)];
}

static bool is_new(const struct hl_kvm_ring *r, uint32_t at)
{
    return __atomic_load_n(&entry(r, at)->flags, __ATOMIC_ACQUIRE) &
           KVM_DIRTY_GFN_F_DIRTY;
}

/* Make the oldest entry protect this page, or nothing. */
static void give_back(struct hl_kvm_ring *r, uint32_t slot, uint64_t offset)
{
    struct kvm_dirty_gfn *e = entry(r, r->oldest++);

    e->slot = slot;
    e->offset = offset;
    __atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
}

/* Have the kernel take all entries that were given back.  -EINTR: it did, and
 * some of them have protected nothing. */
static int reset(struct hl_kvm_ring *r)
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
        give_back(r, NO_SLOT, 0);
    int err = reset(r);
    return err == -EINTR ? 0 : err;
}

static int give_all_back(struct hl_kvm_ring *r)
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
    if (r->owed_count > 0 && hl_pages_has(&r->owed, page)) {
        hl_pages_remove(&r->owed, page); /* it has an entry now */
        r->owed_count--;
    }
}

/* What was given back and not taken. */
static void take_back(struct hl_kvm_ring *r)
{
    while (r->oldest != r->taken)
        if (!is_new(r, --r->oldest))
            entry(r, r->oldest)->flags = 0;
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

    while (i < r->size && (is_new(r, r->oldest + (uint32_t)i - 1) ||
                           !is_new(r, r->oldest + (uint32_t)i)))
        i++;
    return i;
}

/* Pages of the entries that are new. */
static int harvest(struct hl_kvm_ring *r)
{
    size_t passed = 0;

    if (r->lost) {
        take_back(r);
        passed = count_clear(r);
    }
    if (passed == r->size)
        return is_new(r, r->oldest) ? lose(r, r->size) : 0;
    uint32_t first = r->taken + (uint32_t)passed;
    if (r->lost)
        r->next = first;
    for (; r->next - first < r->size && is_new(r, r->next); r->next++)
        note(r, entry(r, r->next));
    /* Every entry is new or kept, and some may have been another before. */
    if (!r->lost)
        return r->next - first == r->size ? lose(r, r->size) : 0;
    r->lost = false;
    return give_many_back(r, passed);
}

int hl_kvm_ring_full(struct hl_kvm *k)
{
    struct hl_kvm_ring *r = k->ring;

    if (r == NULL)
        return -EIO; /* nobody collects: the caller forgot to */
    uint32_t taken = r->taken;
    int err = harvest(r);
    if (err < 0)
        return err;
    r->short_of = true;
    if (!r->lost && r->oldest != r->next)
        return give_all_back(r);
    if (r->taken != taken)
        return 0; /* there is room again */
    /* Full, although no entry is new or kept: the kernel is further than we
     * know, where it is lost or went once around the ring unseen.  From this
     * many on it says that it is full; half of them, for a later kernel may
     * say so earlier. */
    return lose(r, (r->size - HL_KVM_RING_RESERVED) / 2);
}

static int collect(struct hl_tracker *t, struct hl_pages *dirty)
{
    struct hl_kvm_ring *r = (struct hl_kvm_ring *)t;

    int err = harvest(r);
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
    int err = harvest(r);
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
    hl_pages_empty(&r->owed);
    r->owed_count = r->spare = 0;
    r->short_of = r->guess = false;
    return give_all_back(r);
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
    give_back(r, i - 1, page - slot.first);
}

/* Spare entries, where there is room for them. */
static void make_spare(struct hl_kvm_ring *r)
{
    const struct hl_vm_config *config = &r->kvm->config;
    size_t slot = 0;

    while (slot < config->slot_count && !config->slots[slot].logged)
        slot++;
    if (r->no_spare || slot == config->slot_count || harvest(r) < 0 ||
        r->lost ||
        r->next - r->taken + HL_KVM_SPARE + HL_KVM_RING_RESERVED > r->size)
        return;
    hl_kvm_add_entries(r->kvm, slot);
    for (; r->spare < HL_KVM_SPARE && is_new(r, r->next); r->spare++)
        r->next++;
    r->no_spare = r->spare == 0;
}

static bool any_writable(const struct hl_kvm_ring *r,
                         const struct hl_pages *pages)
{
    for (size_t word = 0; hl_pages_word(pages, &word); word++)
        if (pages->bits[word] & r->writable.bits[word])
            return true;
    return false;
}

/* Protect those of the pages that are in `writable`, by one entry each, and a
 * spare one behind them (R5); without a spare one the first page pays. */
static int protect(struct hl_kvm_ring *r, const struct hl_pages *pages)
{
    bool pays = r->spare == 0;

    for (size_t word = 0; hl_pages_word(pages, &word); word++) {
        uint64_t bits = pages->bits[word] & r->writable.bits[word];
        for (; bits; bits &= bits - 1) {
            size_t page = word * 64 + (size_t)__builtin_ctzll(bits);
            hl_pages_remove(&r->writable, page);
            if (!pays) {
                give_page(r, page);
                continue;
            }
            pays = false;
            hl_pages_add(&r->owed, page);
            if (++r->owed_count == MOST_OWED)
                r->short_of = true;
        }
    }
    r->spare -= r->spare > 0;
    give_back(r, NO_SLOT, 0);
    return reset(r);
}

static void arm(struct hl_tracker *t, const struct hl_pages *pages)
{
    struct hl_kvm_ring *r = (struct hl_kvm_ring *)t;
    bool any = any_writable(r, pages);
    int err = -ENOMEM;

    if (any && r->spare == 0 && !r->short_of)
        make_spare(r);
    bool whole = r->short_of;
    hl_pages_andnot(&r->open, pages);
    if (!HL_INJECT(HL_INJECT_ARM))
        err = whole ? protect_everything(r) : any ? protect(r, pages) : 0;
    hl_pages_or(&r->open, &r->owed);
    if (err == 0)
        return;
    r->short_of = true;
    hl_pages_or(&r->open, pages);
    if (whole) { /* a slot that is not logged protects nothing */
        r->guess = true;
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
    if (r->entries != MAP_FAILED)
        munmap(r->entries, r->size * sizeof *r->entries);
    hl_pages_free(&r->open);
    hl_pages_free(&r->writable);
    hl_pages_free(&r->owed);
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
    .arm_first = hl_arm_first_by_pagemap,
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
    r->entries = mmap(NULL, r->size * sizeof *r->entries,
                      PROT_READ | PROT_WRITE, MAP_SHARED, k->cpu_fd,
                      KVM_DIRTY_LOG_PAGE_OFFSET * (off_t)hl_page_size());
    int err = r->entries == MAP_FAILED ? -errno : 0;
    if (err < 0)
        (void)hl_why(why, err, "mmap of the dirty ring: %s", strerror(-err));
    else if (hl_pages_init(&r->open, page_count) < 0 ||
             hl_pages_init(&r->writable, page_count) < 0 ||
             hl_pages_init(&r->owed, page_count) < 0)
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
