/* The dirty ring against a model of the kernel's side of it (Linux's
 * virt/kvm/dirty_ring.c), where a guest may do what no processor does: add any
 * number of entries before anybody looks whether there is room. */
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
#define PAGES 300
#define SEQUENCES 500
#define IS_NEW 1
#define IS_GIVEN_BACK 2
#define BATCH 64
#define KEPT_BACK 576 /* by the kernel, at most */

/* Two slots of these pages, with one between them that is not logged. */
static const size_t first_of[] = {0, PAGES, 100, PAGES};
static char *memory;

static struct {
    struct kvm_dirty_gfn *ring;
    uint32_t size, soft, filled, taken;
    bool open[PAGES], logged[4];
    bool signals, refuses;
    uint32_t adds; /* entries for each time that the clock is set */
    int cpu_fd;
    int fails_in; /* calls that change a slot; 0: none fails */
} kernel;

static bool written[PAGES]; /* since it was armed */
static int guesses, exact;  /* answers; the latter after one of the former */
static uint64_t state;

static uint32_t below(uint32_t n)
{
    return (uint32_t)(next_random(&state) % n);
}

static uint32_t slot_of(size_t page) { return page < first_of[2] ? 0 : 2; }

static struct kvm_dirty_gfn *entry(uint32_t at)
{
    return &kernel.ring[at & (kernel.size - 1)];
}

/* ---- The kernel's side. ---- */

static bool is_given_back(uint32_t at)
{
    return entry(at)->flags & IS_GIVEN_BACK;
}

/* Where a signal ends it: before so many entries, or just behind the last one,
 * as if it had not. */
static uint32_t end_of_reset(void)
{
    uint32_t given = 0;

    if (!kernel.signals || below(4))
        return UINT32_MAX;
    while (given < kernel.size && is_given_back(kernel.taken + given))
        given++;
    return below(2) ? below(200) : given;
}

/* A pending signal ends it early; the last batch, which is of one slot,
 * protects nothing then. */
static int reset(void)
{
    size_t batch[BATCH], in_batch = 0;
    uint32_t taken = 0, end = end_of_reset(), slot = 0;

    if (kernel.refuses && below(8) == 0) {
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

static int set_slot(const struct kvm_userspace_memory_region *region)
{
    bool logged = region->flags & KVM_MEM_LOG_DIRTY_PAGES;

    if (kernel.fails_in > 0 && --kernel.fails_in == 0) {
        errno = ENOMEM;
        return -1;
    }
    for (size_t page = 0; page < PAGES; page++)
        if (slot_of(page) == region->slot)
            kernel.open[page] = !logged;
    kernel.logged[region->slot] = logged;
    return 0;
}

static void push(size_t page)
{
    uint32_t slot = slot_of(page);

    if (!kernel.logged[slot])
        return;
    *entry(kernel.filled++) = (struct kvm_dirty_gfn){
        .flags = IS_NEW, .slot = slot, .offset = page - first_of[slot]};
}

/* As KVM_SET_MSRS of the wall clock: the time goes into memory. */
static int set_clock(const struct kvm_msrs *msrs)
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

static void write_to(size_t page, bool interpreted)
{
    written[page] = true;
    if (interpreted || !kernel.open[page])
        push(page);
    kernel.open[page] = true;
}

static void burst(void)
{
    static const uint32_t most[] = {4, 500, 1100, 2500, 9000};
    bool interpreted = below(3) > 0, walks = below(2);
    uint32_t count = below(most[below(5)]), page = below(PAGES);

    if (!interpreted && count > PAGES)
        count = PAGES;
    for (; count; count--) {
        if (walks || below(64) == 0)
            page = walks ? (page + 1) % PAGES : below(PAGES);
        write_to(page, interpreted);
    }
}

static void run(struct hl_kvm *k)
{
    if (below(4) == 0) /* completes an instruction: nobody looks */
        burst();
    for (uint32_t bursts = below(6); bursts; bursts--) {
        int full = 0;
        while (kernel.filled - kernel.taken >= kernel.soft) {
            int err = hl_kvm_ring_full(k);
            CHECK(err == 0 || (err == -EPERM && kernel.refuses));
            CHECK(++full < 1000);
        }
        burst();
    }
}

/* ---- The other side. ---- */

static void all_is_reported(struct hl_tracker *t, struct hl_pages *dirty)
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

static void arm(struct hl_tracker *t, const struct hl_pages *dirty,
                struct hl_pages *pages, bool fails)
{
    uint32_t kind = below(4);

    hl_pages_empty(pages);
    for (size_t page = 0; page < PAGES; page++)
        if (kind == 0 || (kind == 1 && hl_pages_has(dirty, page)) ||
            (kind == 2 && below(2)))
            hl_pages_add(pages, page);
    kernel.fails_in = fails && below(4) == 0 ? 1 + (int)below(4) : 0;
    t->ops->arm(t, pages);
    CHECK(memory[0] == 'm' && memory[11] == 'm'); /* and not the time */
    kernel.fails_in = 0;
    for (size_t page = 0; page < PAGES; page++)
        if (hl_pages_has(pages, page))
            written[page] = false;
}

static void sequence(bool signals, bool fails, bool refuses)
{
    size_t page_size = hl_page_size();
    struct hl_kvm k = {.vm_fd = VM_FD, .ring_size = 1024u << below(2)};
    struct hl_tracker *t;
    struct hl_pages dirty, pages;
    char why[HL_WHY_SIZE];

    for (uint32_t i = 0; i < 4; i++) {
        size_t from = i == 0 ? 0 : first_of[2];
        size_t count = i == 0 ? first_of[2] : PAGES - first_of[2];
        kernel.logged[i] = i == 0 || i == 2;
        k.config.slots[i] = (struct hl_vm_slot){
            .host = memory + (kernel.logged[i] ? from : PAGES) * page_size,
            .size = (kernel.logged[i] ? count : 1) * page_size,
            .logged = kernel.logged[i],
        };
    }
    k.config.slot_count = 4;
    k.cpu_fd = memfd_create("ring", 0);
    kernel.cpu_fd = k.cpu_fd;
    kernel.adds = below(3) ? 3 : below(5);
    off_t at = 64 * (off_t)page_size; /* KVM_DIRTY_LOG_PAGE_OFFSET */
    size_t bytes = k.ring_size * sizeof *kernel.ring;
    CHECK(k.cpu_fd >= 0 && ftruncate(k.cpu_fd, at + (off_t)bytes) == 0);
    kernel.ring =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, k.cpu_fd, at);
    CHECK(kernel.ring != MAP_FAILED);
    kernel.size = (uint32_t)k.ring_size;
    kernel.soft = kernel.size - (below(2) ? KEPT_BACK : 64);
    kernel.filled = kernel.taken = 0;
    kernel.signals = signals;
    kernel.refuses = refuses;
    CHECK(hl_pages_init(&dirty, PAGES) == 0);
    CHECK(hl_pages_init(&pages, PAGES) == 0);
    CHECK(hl_kvm_ring_open(&k.vm, memory, PAGES, &t, why) == 0);
    memset(kernel.open, false, sizeof kernel.open);
    memset(written, true, sizeof written);

    for (uint32_t turns = 5 + below(40); turns; turns--) {
        run(&k);
        all_is_reported(t, &dirty);
        if (below(5))
            arm(t, &dirty, &pages, fails);
    }
    t->ops->close(t, false);
    hl_pages_free(&dirty);
    hl_pages_free(&pages);
    munmap(kernel.ring, bytes);
    close(k.cpu_fd);
}

static void many(bool signals, bool fails, bool refuses)
{
    int all_guesses = 0, all_exact = 0;

    for (uint64_t seed = 1; seed <= SEQUENCES; seed++) {
        state = seed * UINT64_C(0x9e3779b97f4a7c15);
        guesses = exact = 0;
        sequence(signals, fails, refuses);
        all_guesses += guesses;
        all_exact += exact;
    }
    CHECK(all_guesses > SEQUENCES && all_exact > SEQUENCES);
}

static void no_write_is_lost(void) { many(false, false, false); }
static void nor_where_signals_come(void) { many(true, false, false); }
static void nor_where_slots_cannot_be_changed(void)
{
    many(false, true, false);
}
static void nor_where_the_kernel_refuses(void) { many(true, true, true); }

int main(void)
{
    memory = mmap(NULL, (PAGES + 1) * hl_page_size(), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    memset(memory, 'm', 12);
    RUN(no_write_is_lost);
    RUN(nor_where_signals_come);
    RUN(nor_where_slots_cannot_be_changed);
    RUN(nor_where_the_kernel_refuses);
    return 0;
}
