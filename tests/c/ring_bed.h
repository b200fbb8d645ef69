/* A model of the kernel's side of a dirty ring (Linux's
 * virt/kvm/dirty_ring.c), for the tests of the other side, where a guest may
 * do what no processor does: add any number of entries before anybody looks
 * whether there is room. */
#ifndef HL_TESTS_RING_BED_H
#define HL_TESTS_RING_BED_H

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "os/map.h"
#include "vm/kvm/machine.h"

#define VM_FD 1000000 /* whose ioctl() is the one below */
#define PAGES 1200
#define IS_NEW 1
#define IS_GIVEN_BACK 2
#define BATCH 64
#define KEPT_BACK 576 /* by the kernel, at most */

/* Two slots of these pages, with one between them that is not logged. */
static const size_t first_of[] = {0, PAGES, 400, PAGES};
static char *memory;

static struct {
    struct kvm_dirty_gfn *ring;
    uint32_t size, soft, filled, taken;
    bool open[PAGES], logged[4];
    bool signals, refuses;
    uint32_t adds; /* entries for each time that the clock is set */
    int cpu_fd;
    int fails_in; /* calls that change a slot; 0: none fails */
    bool refuses_once;
    bool ends_reset; /* one signal, just before it has taken all */
    size_t fulls, slot_changes;
} kernel;

static bool written[PAGES]; /* since it was armed */
static int guesses, exact;  /* answers; the latter after one of the former */
static uint64_t state;

static inline uint32_t below(uint32_t n)
{
    return (uint32_t)(next_random(&state) % n);
}

static inline uint32_t slot_of(size_t page)
{
    return page < first_of[2] ? 0 : 2;
}

static inline struct kvm_dirty_gfn *entry(uint32_t at)
{
    return &kernel.ring[at & (kernel.size - 1)];
}

/* ---- The kernel's side. ---- */

static inline bool is_given_back(uint32_t at)
{
    return entry(at)->flags & IS_GIVEN_BACK;
}

/* Where a signal ends it: before so many entries, or just behind the last one,
 * as if it had not. */
static inline uint32_t end_of_reset(void)
{
    uint32_t given = 0;

    if (!kernel.ends_reset && (!kernel.signals || below(4)))
        return UINT32_MAX;
    while (given < kernel.size && is_given_back(kernel.taken + given))
        given++;
    if (kernel.ends_reset) {
        kernel.ends_reset = false;
        return given - 1;
    }
    return below(2) ? below(200) : given;
}

/* A pending signal ends it early; the last batch, which is of one slot,
 * protects nothing then. */
static inline int reset(void)
{
    size_t batch[BATCH], in_batch = 0;
    uint32_t taken = 0, end = end_of_reset(), slot = 0;

    if (kernel.refuses_once || (kernel.refuses && below(8) == 0)) {
        kernel.refuses_once = false;
        errno = EPERM;
        return -1;
    }
    for (;; taken++) {
        if (taken == end) {
            while (in_batch)
                kernel.open[batch[--in_batch]] = true;
            break;
        }
        if (!is_given_back(kernel.taken))
            break;
        struct kvm_dirty_gfn *e = entry(kernel.taken++);
        size_t page = e->slot == 0 || e->slot == 2
                          ? first_of[e->slot] + (size_t)e->offset
                          : PAGES;
        if (in_batch == BATCH || e->slot != slot)
            in_batch = 0;
        slot = e->slot;
        if (page < PAGES && kernel.open[page]) {
            kernel.open[page] = false;
            batch[in_batch++] = page;
        }
        e->flags = 0;
    }
    CHECK(kernel.filled - kernel.taken < UINT32_MAX / 2);
    return (int)taken;
}

static inline int set_slot(const struct kvm_userspace_memory_region *region)
{
    bool logged = region->flags & KVM_MEM_LOG_DIRTY_PAGES;

    if (kernel.fails_in > 0 && --kernel.fails_in == 0) {
        errno = ENOMEM;
        return -1;
    }
    kernel.slot_changes++;
    for (size_t page = 0; page < PAGES; page++)
        if (slot_of(page) == region->slot)
            kernel.open[page] = !logged;
    kernel.logged[region->slot] = logged;
    return 0;
}

static inline void push(size_t page)
{
    uint32_t slot = slot_of(page);

    if (!kernel.logged[slot])
        return;
    *entry(kernel.filled++) = (struct kvm_dirty_gfn){
        .flags = IS_NEW, .slot = slot, .offset = page - first_of[slot]};
}

/* As KVM_SET_MSRS of the wall clock: the time goes into memory. */
static inline int set_clock(const struct kvm_msrs *msrs)
{
    CHECK(msrs->nmsrs <= HL_KVM_SPARE);
    for (uint32_t i = 0; i < msrs->nmsrs; i++) {
        if (kernel.adds == 0 || (kernel.refuses && below(20) == 0))
            return (int)i;
        for (uint32_t n = 0; n < kernel.adds; n++)
            push(0);
        memset(memory, 'T', 12);
    }
    return (int)msrs->nmsrs;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list list;

    va_start(list, request);
    void *arg = va_arg(list, void *);
    va_end(list);
    if (fd == kernel.cpu_fd && request == KVM_SET_MSRS)
        return set_clock(arg);
    if (fd != VM_FD)
        return (int)syscall(SYS_ioctl, fd, request, arg);
    if (request == KVM_RESET_DIRTY_RINGS)
        return reset();
    CHECK(request == KVM_SET_USER_MEMORY_REGION);
    return set_slot(arg);
}

/* ---- A guest. ---- */

static inline void write_to(size_t page, bool interpreted)
{
    written[page] = true;
    if (interpreted || !kernel.open[page])
        push(page);
    kernel.open[page] = true;
}

/* What the kernel does before it enters the guest. */
static inline void look(struct hl_kvm *k)
{
    int full = 0;

    while (kernel.filled - kernel.taken >= kernel.soft) {
        int err = hl_kvm_ring_full(k);
        CHECK(err == 0 || (err == -EPERM && kernel.refuses));
        CHECK(++full < 1000);
        kernel.fulls++;
    }
}

/* ---- The other side. ---- */

static inline void all_is_reported(struct hl_tracker *t,
                                   struct hl_pages *dirty)
{
    hl_pages_empty(dirty);
    int err = t->ops->collect(t, dirty);
    CHECK(err == 0 || err == -EOVERFLOW || (err == -EPERM && kernel.refuses));
    guesses += err < 0;
    exact += err == 0 && guesses > 0;
    if (err < 0)
        hl_pages_fill(dirty);
    for (size_t page = 0; page < PAGES; page++)
        CHECK(!written[page] || hl_pages_has(dirty, page));
}

struct bed {
    struct hl_kvm k;
    struct hl_tracker *t;
    struct hl_pages dirty, pages;
};

/* kept_back: of the ring's entries, by the kernel.  adds: see `kernel`. */
static inline void open_bed(struct bed *bed, uint32_t size, uint32_t kept_back,
                            uint32_t adds)
{
    size_t page_size = hl_page_size();
    char why[HL_WHY_SIZE];

    memset(&kernel, 0, sizeof kernel);
    *bed = (struct bed){.k = {.vm_fd = VM_FD, .ring_size = size}};
    struct hl_vm_config *config = &bed->k.config;
    for (uint32_t i = 0; i < 4; i++) {
        size_t from = i == 0 ? 0 : first_of[2];
        size_t count = i == 0 ? first_of[2] : PAGES - first_of[2];
        kernel.logged[i] = i == 0 || i == 2;
        config->slots[i] = (struct hl_vm_slot){
            .host = memory + (kernel.logged[i] ? from : PAGES) * page_size,
            .size = (kernel.logged[i] ? count : 1) * page_size,
            .logged = kernel.logged[i],
        };
    }
    config->slot_count = 4;
    bed->k.cpu_fd = kernel.cpu_fd = memfd_create("ring", 0);
    kernel.adds = adds;
    size_t bytes = HL_KVM_RING_AT + size * sizeof *kernel.ring;
    CHECK(kernel.cpu_fd >= 0 && ftruncate(kernel.cpu_fd, (off_t)bytes) == 0);
    char *vcpu = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                      kernel.cpu_fd, 0);
    CHECK(vcpu != MAP_FAILED);
    bed->k.kvm_run = (struct kvm_run *)vcpu;
    kernel.ring = (struct kvm_dirty_gfn *)(vcpu + HL_KVM_RING_AT);
    kernel.size = size;
    kernel.soft = size - kept_back;
    CHECK(hl_pages_init(&bed->dirty, PAGES) == 0);
    CHECK(hl_pages_init(&bed->pages, PAGES) == 0);
    CHECK(hl_kvm_ring_open(&bed->k.vm, memory, PAGES, &bed->t, why) == 0);
    memset(written, true, sizeof written);
}

static inline void close_bed(struct bed *bed)
{
    bed->t->ops->close(bed->t, false);
    hl_pages_free(&bed->dirty);
    hl_pages_free(&bed->pages);
    munmap(bed->k.kvm_run, HL_KVM_RING_AT + kernel.size * sizeof *kernel.ring);
    close(kernel.cpu_fd);
}

static inline void map_memory(void)
{
    memory = mmap(NULL, (PAGES + 1) * hl_page_size(), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    memset(memory, 'm', 12);
}

#endif
