#include "sandbox.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "mem/forked.h"
#include "mem/map.h"

/* From here on what a message leaves of the one before is dropped instead of
 * zeroed: that is cheaper, and gives the memory back. */
#define DROP_FROM ((size_t)1 << 20)

#define CANARY_AT 0x28

struct hl_sandbox {
    const struct hl_driver_ops *driver;
    struct hl_vm *vm;
    struct hl_manager *manager;
    struct hl_map map;
    char *input, *output;
    uint64_t input_addr;
    size_t input_used; /* what a guest could read of former messages */
    size_t output_first, output_pages; /* of the manager's */
    enum hl_sandbox_status status;
    unsigned generation;
};

static atomic_size_t live;

size_t hl_sandbox_count(void) { return atomic_load(&live); }

static bool forked(const struct hl_sandbox *s)
{
    return s->generation != hl_fork_generation();
}

/* Slots that all of `span` fits in, as host memory; NULL: none. */
static char *host_of(const struct hl_vm_config *vm,
                     struct hl_sandbox_span span)
{
    for (size_t i = 0; i < vm->slot_count; i++) {
        const struct hl_vm_slot *s = &vm->slots[i];
        if (span.addr >= s->addr && span.addr - s->addr < s->size &&
            span.size <= s->size - (span.addr - s->addr))
            return (char *)s->host + (span.addr - s->addr);
    }
    return NULL;
}

/* Memory for the slots, one behind the other. */
static int map_slots(struct hl_sandbox *s, const struct hl_sandbox_config *c,
                     struct hl_vm_config *vm, char *why)
{
    size_t total = 0, at = 0;

    for (size_t i = 0; i < c->slot_count; i++)
        total += c->slots[i].size;
    int err = hl_map_create(&s->map, total, HL_HUGE_NEVER);
    if (err < 0)
        return hl_why(why, err, "mmap of %zu bytes: %s", total,
                      strerror(-err));
    for (size_t i = 0; i < c->slot_count; i++) {
        vm->slots[i] = (struct hl_vm_slot){
            .host = (char *)s->map.addr + at,
            .addr = c->slots[i].addr,
            .size = c->slots[i].size,
            .logged = c->slots[i].logged,
        };
        at += c->slots[i].size;
    }
    vm->slot_count = c->slot_count;
    return 0;
}

/* The guest's image, which may reach over several slots of host memory that
 * lie one behind the other, as it does in the guest's. */
static int load_image(const struct hl_sandbox_config *c,
                      const struct hl_vm_config *vm, char *why)
{
    uint64_t low = c->base + c->elf->low, size = c->elf->high - c->elf->low;
    char *start = NULL, *end = NULL;

    for (size_t i = 0; i < vm->slot_count; i++) {
        const struct hl_vm_slot *s = &vm->slots[i];
        if (low >= s->addr && low - s->addr < s->size)
            start = end = (char *)s->host + (low - s->addr);
        if (end == NULL || low + (uint64_t)(end - start) < s->addr ||
            low + (uint64_t)(end - start) - s->addr >= s->size)
            continue;
        if (end != (char *)s->host + (low + (uint64_t)(end - start) - s->addr))
            break;
        end = (char *)s->host + s->size;
    }
    if (start == NULL || (uint64_t)(end - start) < size)
        return hl_why(why, -EINVAL, "the layout has no room for the image");
    return hl_elf_load(c->elf, c->file, c->file_size, c->base, start, why);
}

/* [thread-local data][block: itself, ..., canary][info], which FS base, at
 * the block, and RDI, at the info, point to. */
static int make_thread(const struct hl_sandbox_config *c,
                       struct hl_vm_config *vm, uint64_t *info_at, char *why)
{
    const struct hl_elf *elf = c->elf;
    uint64_t align = elf->tls_align < 64 ? 64 : elf->tls_align;
    uint64_t block =
        c->thread.addr + (elf->tls_size + align - 1) / align * align;
    struct hl_guest_info info = {
        .magic = HL_INFO_MAGIC,
        .version = HL_ABI_VERSION,
        .heap = c->heap.addr,
        .heap_size = c->heap.size,
        .input = c->input.addr,
        .input_size = c->input.size,
        .output = c->output.addr,
        .output_size = c->output.size,
        .stack = c->stack.addr,
        .stack_size = c->stack.size,
    };
    uint64_t canary;
    char *host = host_of(vm, c->thread);
    const struct hl_sandbox_span tls = {c->base + elf->tls_addr,
                                        elf->tls_file_size};
    const char *from = tls.size ? host_of(vm, tls) : NULL;

    if (host == NULL ||
        block + 64 + sizeof info > c->thread.addr + c->thread.size)
        return hl_why(why, -EINVAL, "the layout has no room for the thread");
    if (tls.size && from == NULL)
        return hl_why(why, -EINVAL, "thread-local data is not in the image");
    if (getrandom(&canary, sizeof canary, 0) != sizeof canary)
        return hl_why(why, -errno, "getrandom: %s", strerror(errno));
    canary &= ~UINT64_C(0xff); /* ends a string that is copied over it */
    char *at = host + (block - c->thread.addr);
    if (tls.size)
        memcpy(at - elf->tls_size, from, tls.size);
    memcpy(at, &block, sizeof block);
    memcpy(at + CANARY_AT, &canary, sizeof canary);
    memcpy(at + 64, &info, sizeof info);
    vm->fs_base = block;
    *info_at = block + 64;
    return 0;
}

static void set_entry_registers(struct hl_sandbox *s,
                                const struct hl_sandbox_config *c,
                                uint64_t info)
{
    struct hl_vm_regs *regs = s->driver->regs(s->vm);

    *regs = (struct hl_vm_regs){
        .rip = c->base + c->elf->entry,
        .rflags = 2,
    };
    regs->gpr[HL_RSP] = c->stack.addr + c->stack.size - 8;
    regs->gpr[HL_RDI] = info;
}

/* The tracker that the driver has, or the best of the host's. */
static int start_tracking(struct hl_sandbox *s,
                          const struct hl_sandbox_config *c, char *memory,
                          size_t page_count, char *why)
{
    const struct hl_tracker_ops *host =
        c->tracker ? hl_tracker_find(c->tracker) : NULL;
    struct hl_tracker *tracker;
    int err = -ENOENT;

    if (host)
        return hl_manager_new(memory, page_count, host, c->adaptive,
                              &s->manager, why);
    if (s->driver->track) {
        err = s->driver->track(s->vm, memory, page_count, &tracker, why);
        if (err < 0)
            return err;
        err = hl_manager_adopt(tracker, c->adaptive, &s->manager, why);
        if (err < 0)
            tracker->ops->close(tracker, false);
        return err;
    }
    if (c->tracker)
        return hl_why(why, -EINVAL, "driver %s has no such tracker",
                      s->driver->name);
    for (size_t i = 0; i < hl_tracker_count && err < 0; i++)
        err = hl_manager_new(memory, page_count, hl_trackers[i], c->adaptive,
                             &s->manager, why);
    return err;
}

static int set_up(struct hl_sandbox *s, const struct hl_sandbox_config *c,
                  char *why)
{
    struct hl_vm_config vm = {.tracker = c->tracker};
    char *memory = NULL;
    size_t size = 0;
    uint64_t info = 0;

    int err = map_slots(s, c, &vm, why);
    if (err < 0)
        return err;
    memcpy(vm.regions, c->regions, sizeof vm.regions);
    vm.region_count = c->region_count;
    s->input = host_of(&vm, c->input);
    s->output = host_of(&vm, c->output);
    s->input_addr = c->input.addr;
    char *tables = host_of(&vm, c->tables);
    if (s->input == NULL || s->output == NULL || tables == NULL)
        return hl_why(why, -EINVAL, "a buffer lies in no slot");
    err = hl_x86_build(tables, c->tables.size, c->tables.addr, c->regions,
                       c->region_count, &vm.tables);
    if (err < 0)
        return hl_why(why, err, "page tables: %s", strerror(-err));
    err = load_image(c, &vm, why);
    if (err < 0)
        return err;
    err = make_thread(c, &vm, &info, why);
    if (err < 0)
        return err;
    for (size_t i = vm.slot_count; i-- > 0;) {
        if (!vm.slots[i].logged)
            continue;
        memory = vm.slots[i].host;
        size += vm.slots[i].size;
        /* A log that nobody reads costs for nothing. */
        vm.slots[i].logged =
            c->tracker == NULL || !hl_tracker_find(c->tracker);
    }
    err = s->driver->create(&vm, &s->vm, why);
    if (err < 0)
        return err;
    set_entry_registers(s, c, info);
    s->output_first = (size_t)(s->output - memory) / hl_page_size();
    s->output_pages = c->output.size / hl_page_size();
    return start_tracking(s, c, memory, size / hl_page_size(), why);
}

static void release(struct hl_sandbox *s)
{
    if (s->manager)
        hl_manager_free(s->manager);
    if (s->vm)
        s->driver->destroy(s->vm);
    if (s->map.base)
        hl_map_destroy(&s->map);
    free(s);
}

int hl_sandbox_new(const struct hl_sandbox_config *config,
                   struct hl_sandbox **out, char *why)
{
    struct hl_sandbox *s = calloc(1, sizeof *s);
    if (s == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    s->driver = config->driver;
    s->generation = hl_fork_generation();
    int err = set_up(s, config, why);
    if (err < 0) {
        release(s);
        return err;
    }
    atomic_fetch_add(&live, 1);
    *out = s;
    return 0;
}

void hl_sandbox_free(struct hl_sandbox *s)
{
    release(s);
    atomic_fetch_sub(&live, 1);
}

enum hl_sandbox_status hl_sandbox_status(const struct hl_sandbox *s)
{
    return s->status;
}

void *hl_sandbox_input(struct hl_sandbox *s) { return s->input; }

const void *hl_sandbox_output(const struct hl_sandbox *s) { return s->output; }

/* Zero input[from, to); whole pages of much of it are dropped. */
static void scrub(char *input, size_t from, size_t to)
{
    size_t page = hl_page_size();
    size_t first = (from + page - 1) / page * page;

    if (to > first && to - first >= DROP_FROM) {
        size_t last = (to + page - 1) / page * page;
        if (madvise(input + first, last - first, MADV_DONTNEED) == 0)
            to = first;
    }
    memset(input + from, 0, to - from);
}

int hl_sandbox_begin(struct hl_sandbox *s, size_t size, size_t message)
{
    if (forked(s))
        return -ECHILD;
    if (s->status == HL_SANDBOX_POISONED)
        return -EBUSY;
    if (size < s->input_used)
        scrub(s->input, size, s->input_used);
    s->input_used = size;
    s->driver->regs(s->vm)->gpr[HL_RAX] = s->input_addr + message;
    s->status = HL_SANDBOX_IN_CALL;
    return 0;
}

int hl_sandbox_run(struct hl_sandbox *s, uint64_t deadline,
                   struct hl_exit *exit)
{
    int err = s->driver->run(s->vm, deadline, exit);

    if (err < 0 ||
        (exit->reason != HL_EXIT_CALL &&
         !(exit->reason == HL_EXIT_INTERRUPTED && exit->value == 0)))
        s->status = HL_SANDBOX_POISONED;
    return err;
}

void hl_sandbox_end(struct hl_sandbox *s) { s->status = HL_SANDBOX_IDLE; }

void hl_sandbox_interrupt(struct hl_sandbox *s)
{
    s->driver->interrupt(s->vm);
}

size_t hl_sandbox_state_size(const struct hl_sandbox *s)
{
    return s->driver->state_size;
}

/* What a snapshot must not hold. */
static int zero_output(struct hl_sandbox *s)
{
    size_t pages = s->output_first + s->output_pages, page = hl_page_size();
    uint64_t *dirty;
    struct hl_run run;

    if (hl_manager_current(s->manager) == NULL)
        return 0; /* nothing has run yet */
    dirty = calloc(hl_manager_page_count(s->manager) / 64 + 1, sizeof *dirty);
    if (dirty == NULL)
        return -ENOMEM;
    int err = hl_manager_dirty(s->manager, dirty);
    for (size_t at = s->output_first;
         err == 0 && hl_run_next(dirty, pages, &at, &run);)
        memset(s->output + (run.first - s->output_first) * page, 0,
               run.count * page);
    free(dirty);
    return err;
}

int hl_sandbox_take(struct hl_sandbox *s, struct hl_snapshot **out,
                    void *state)
{
    if (forked(s))
        return -ECHILD;
    if (s->status != HL_SANDBOX_IDLE)
        return -EBUSY;
    int err = zero_output(s);
    if (err == 0)
        err = s->driver->save(s->vm, state);
    return err < 0 ? err : hl_manager_take(s->manager, out);
}

int hl_sandbox_restore(struct hl_sandbox *s, struct hl_snapshot *snapshot,
                       const void *state, struct hl_applied *done)
{
    if (forked(s))
        return -ECHILD;
    int err = hl_manager_restore(s->manager, snapshot, done);
    if (err < 0)
        return err;
    err = s->driver->load(s->vm, state);
    s->status = err < 0 ? HL_SANDBOX_POISONED : HL_SANDBOX_IDLE;
    return err;
}

struct hl_manager *hl_sandbox_manager(struct hl_sandbox *s)
{
    return s->manager;
}
