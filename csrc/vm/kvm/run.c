/* kvm: the kernel's virtual machine monitor (Documentation/virt/kvm/api.rst).
 *
 * A plain call is one KVM_RUN, and a look at the thread's signal mask before
 * and after it (kick.c): registers travel in the shared kvm_run page. */
#include "os/joined.h"
#include "os/memory.h"
#include "vm/kvm/machine.h"
#include "vm/start.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Where VMX without "unrestricted guest" keeps pages of its own: between the
 * memory that slots may have, below 3 GiB and from 4 GiB on. */
#define VMX_PAGES 0xfffbd000

/* The file was opened, but an ioctl of KVM was refused.  Other devices return
 * ENOTTY; KVM itself refuses neither of the two ioctls that are tried first.
 */
static int why_not_kvm(char *why, int err, const char *what)
{
    switch (-err) {
    case ENOTTY:
    case EINVAL:
        return hl_why(why, err, "/dev/kvm is not KVM: it lacks %s", what);
    case EPERM:
    case EACCES:
    case ENOSYS:
        return hl_why(why, err,
                      "/dev/kvm: %s was refused by a filter of system calls "
                      "(seccomp) or a security module",
                      what);
    default:
        return hl_why_errno(why, err, what);
    }
}

static int why_not_open(char *why, int err)
{
    switch (-err) {
    case ENOENT:
        return hl_why(why, err,
                      "no /dev/kvm: the kernel has no KVM, or this machine "
                      "does not offer virtualization");
    case ENODEV:
    case ENXIO:
        return hl_why(why, err,
                      "/dev/kvm: there is no device: the kernel has no KVM, "
                      "or this machine does not offer virtualization");
    case EACCES:
        return hl_why(why, err,
                      "/dev/kvm: no permission; ask to be added to the group "
                      "that owns it (often 'kvm')");
    case EPERM:
    case ENOSYS:
        return hl_why(why, err,
                      "/dev/kvm: opening it is forbidden here, as in a "
                      "container without the device or by a seccomp filter");
    default:
        return hl_why_errno(why, err, "/dev/kvm");
    }
}

static int open_kvm(char *why)
{
    const int needed = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
    int err;
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return why_not_open(why, -errno);

    int version = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (version < 0) {
        err = why_not_kvm(why, -errno, "KVM_GET_API_VERSION");
        goto fail;
    }
    if (version != KVM_API_VERSION) {
        err = hl_why(why, -EOPNOTSUPP,
                     "/dev/kvm has version %d of KVM's interface, but %d is "
                     "needed",
                     version, KVM_API_VERSION);
        goto fail;
    }
    int has = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS);
    if (has < 0) {
        err = why_not_kvm(why, -errno, "KVM_CHECK_EXTENSION");
        goto fail;
    }
    if ((has & needed) == needed)
        return fd;
    err = hl_why(why, -EOPNOTSUPP,
                 "this kernel's KVM is too old: Linux 4.17 is needed");
fail:
    close(fd);
    return err;
}

static size_t logged_pages(const struct hl_vm_config *config)
{
    size_t bytes = 0;

    for (size_t i = 0; i < config->slot_count; i++)
        if (config->slots[i].logged)
            bytes += config->slots[i].size;
    return bytes / 4096;
}

static int set_slots(struct hl_kvm *k)
{
    for (size_t i = 0; i < k->config.slot_count; i++) {
        const struct hl_vm_slot *slot = &k->config.slots[i];
        struct kvm_userspace_memory_region region = {
            .slot = (uint32_t)i,
            .flags = slot->logged ? KVM_MEM_LOG_DIRTY_PAGES : 0,
            .guest_phys_addr = slot->addr,
            .memory_size = slot->size,
            .userspace_addr = (uintptr_t)slot->host,
        };
        if (ioctl(k->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
            return -errno;
    }
    return 0;
}

/* KVM_CREATE_VM takes the longer the more mappings the process has.  So the
 * ring is in one mapping with kvm_run (of the pages between them nothing is
 * ever touched), and all of these are asked for in a row, far from other
 * memory: the kernel makes one mapping of machines' memory only where it
 * adjoins.  A page behind each is left for files.c.  Where it lies has no
 * other meaning, so the kernel may choose otherwise. */
#define FAR ((uintptr_t)1 << 40)

static void *map_vcpu(int cpu_fd, size_t size)
{
    static _Atomic uintptr_t next;
    const uintptr_t wish = atomic_load(&next);

    void *at = mmap((void *)wish, size, PROT_READ | PROT_WRITE, MAP_SHARED,
                    cpu_fd, 0);
    if (at != MAP_FAILED)
        atomic_store(&next,
                     (uintptr_t)at - (wish ? size + hl_page_size() : FAR));
    return at;
}

static int map_kvm_run(struct hl_kvm *k, int kvm_fd)
{
    int least = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (least < 0)
        return -errno;
    size_t size = (size_t)least;
    if (k->ring_size)
        size = HL_KVM_RING_AT + k->ring_size * sizeof(struct kvm_dirty_gfn);
    void *page = map_vcpu(k->cpu_fd, size);
    if (page == MAP_FAILED)
        return -errno;
    hl_joined_adopt();
    k->kvm_run = page;
    k->kvm_run_size = size;
    k->kvm_run->kvm_valid_regs = KVM_SYNC_X86_REGS;
    return 0;
}

/* More than this costs kernel memory for what a full ring does as well. */
#define MOST_ENTRIES 16384

/* Give the machine a dirty ring for so many logged pages; returns its size in
 * entries, 0: this KVM has none. */
static size_t enable_ring(int kvm_fd, int vm_fd, size_t page_count)
{
    static const uint32_t kinds[] = {KVM_CAP_DIRTY_LOG_RING_ACQ_REL,
                                     KVM_CAP_DIRTY_LOG_RING};
    size_t size = 1024;

    while (size < page_count + HL_KVM_RING_RESERVED + HL_KVM_SPARE &&
           size < MOST_ENTRIES)
        size *= 2;
    for (size_t i = 0; i < HL_ARRAY_SIZE(kinds); i++) {
        struct kvm_enable_cap cap = {
            .cap = kinds[i],
            .args[0] = size * sizeof(struct kvm_dirty_gfn),
        };
        if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, cap.cap) > 0 &&
            ioctl(vm_fd, KVM_ENABLE_CAP, &cap) == 0)
            return size;
    }
    return 0;
}

/* The steps of create; *what names the one that failed. */
static int set_up(struct hl_kvm *k, int kvm_fd, const char **what)
{
    const struct hl_vm_tracker *tracker = k->config.tracker;
    int err;

    *what = "KVM_CREATE_VM";
    k->vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
    if (k->vm_fd < 0)
        return -errno;
    /* Refused by processors that do not need it. */
    (void)ioctl(k->vm_fd, KVM_SET_TSS_ADDR, VMX_PAGES);
    if (tracker && tracker->ops == &hl_kvm_ring_ops)
        k->ring_size = enable_ring(kvm_fd, k->vm_fd, logged_pages(&k->config));
    *what = "KVM_SET_USER_MEMORY_REGION";
    err = set_slots(k);
    if (err < 0)
        return err;
    *what = "KVM_CREATE_VCPU";
    k->cpu_fd = ioctl(k->vm_fd, KVM_CREATE_VCPU, 0);
    if (k->cpu_fd < 0)
        return -errno;
    *what = "mmap of kvm_run";
    err = map_kvm_run(k, kvm_fd);
    if (err < 0)
        return err;
    *what = "fstat";
    err = hl_kvm_mark_files(k);
    if (err < 0)
        return err;
    *what = "tgkill";
    err = hl_kvm_kick_probe();
    if (err < 0)
        return err;
    return hl_kvm_set_up_vcpu(k, kvm_fd, what);
}

static void destroy(struct hl_vm *vm)
{
    struct hl_kvm *k = hl_kvm_of(vm);

    hl_kvm_close_files(k);
    free(k->first);
    free(k);
}

static int create(const struct hl_vm_config *config, struct hl_vm **out,
                  char *why)
{
    const char *what = "";
    int kvm_fd = open_kvm(why);
    if (kvm_fd < 0)
        return kvm_fd;
    struct hl_kvm *k = calloc(1, sizeof *k);
    if (k == NULL) {
        close(kvm_fd);
        return hl_why(why, -ENOMEM, "out of memory");
    }
    k->vm.ops = &hl_driver_kvm;
    k->vm_fd = k->cpu_fd = -1;
    k->config = *config;
    k->regs.rflags = 2;
    hl_kvm_number(k);

    /* The kernel gives up making a machine for any signal. */
    const sigset_t before = hl_signals_block();
    int err = set_up(k, kvm_fd, &what);
    hl_signals_put_back(&before);
    close(kvm_fd);
    if (err < 0) {
        (void)hl_why_errno(why, err, what);
        destroy(&k->vm);
        return err;
    }
    *out = &k->vm;
    return 0;
}

static struct hl_vm_regs *registers(struct hl_vm *vm)
{
    return &hl_kvm_of(vm)->regs;
}

static int read_exception(struct hl_kvm *k, struct hl_exit *exit)
{
    struct kvm_sregs sregs;

    if (ioctl(k->cpu_fd, KVM_GET_SREGS, &sregs) < 0)
        return -errno;
    return hl_vm_read_exception(&k->config, &k->regs, sregs.cr2, exit);
}

/* An OUT to the port is completed by the next KVM_RUN, unless RIP was put
 * elsewhere. */
static int read_system_call(struct hl_kvm *k, struct hl_exit *exit)
{
    exit->reason = HL_EXIT_SYSTEM_CALL;
    exit->value = 0;
    if (!hl_vm_is_in_system_call(&k->config, k->regs.rip))
        return 0;
    int err = hl_kvm_leave_supervisor(k);
    if (err == 0)
        hl_vm_read_system_call(&k->regs, exit);
    return err;
}

static int read_port(struct hl_kvm *k, struct hl_exit *exit)
{
    const struct kvm_run *kvm_run = k->kvm_run;
    bool out = kvm_run->io.direction == KVM_EXIT_IO_OUT &&
               kvm_run->io.size == 1 && kvm_run->io.count == 1;

    if (out && kvm_run->io.port == HL_PORT_GUEST) {
        exit->reason = HL_EXIT_CALL;
        exit->value = kvm_run->s.regs.regs.rax;
        return 0;
    }
    if (out && kvm_run->io.port == HL_PORT_SYSTEM_CALL)
        return read_system_call(k, exit);
    k->plain = false;
    k->pending = true;
    return out && kvm_run->io.port == HL_PORT_EXCEPTION
               ? read_exception(k, exit)
               : 0;
}

static int read_exit(struct hl_kvm *k, struct hl_exit *exit)
{
    k->begun = false;
    *exit = (struct hl_exit){.reason = HL_EXIT_UNKNOWN,
                             .value = k->kvm_run->exit_reason};
    if (k->kvm_run->exit_reason == KVM_EXIT_IO)
        return read_port(k, exit);
    k->plain = false;
    k->pending = true;
    if (k->kvm_run->exit_reason == KVM_EXIT_SHUTDOWN) {
        exit->reason = HL_EXIT_SHUTDOWN;
    } else if (k->kvm_run->exit_reason == KVM_EXIT_MMIO) {
        exit->reason = HL_EXIT_BAD_ACCESS;
        exit->value = k->kvm_run->mmio.phys_addr;
    }
    return 0;
}

/* One KVM_RUN, or more where the ring was full.  While it is full, KVM_RUN
 * does not look at signals. */
static int enter(struct hl_kvm *k)
{
    int err = 0;

    do {
        hl_kvm_regs_out(k);
        if (ioctl(k->cpu_fd, KVM_RUN, 0) < 0)
            err = -errno;
        if (err < 0 && err != -EINTR)
            return err;
        hl_kvm_regs_in(k);
    } while (err == 0 && k->kvm_run->exit_reason == KVM_EXIT_DIRTY_RING_FULL &&
             (err = hl_kvm_ring_full(k)) == 0 &&
             (err = atomic_load(&k->kicked) ? -EINTR : 0) == 0);
    return err;
}

static int run(struct hl_vm *vm, struct hl_exit *exit)
{
    struct hl_kvm *k = hl_kvm_of(vm);
    uint64_t selectors = hl_kvm_selectors();

    k->is_first = false;
    int err = hl_kvm_kick_open(k);
    if (err < 0)
        return err;
    /* Not exchanged without need: kicks are rare, and this is a hot path. */
    if (atomic_load(&k->kicked) && atomic_exchange(&k->kicked, false))
        err = -EINTR;
    else
        err = enter(k);
    hl_kvm_put_back_selectors(selectors, hl_kvm_selectors());
    hl_kvm_kick_close(k);
    if (err == 0)
        return read_exit(k, exit);
    if (err != -EINTR)
        return err;
    k->plain = false;
    atomic_store(&k->kicked, false); /* who asked did so before */
    *exit = (struct hl_exit){.reason = HL_EXIT_KICKED};
    return 0;
}

static const struct hl_vm_tracker trackers[] = {
    {&hl_kvm_ring_ops, hl_kvm_ring_open},
    {&hl_kvm_log_ops, hl_kvm_log_open},
};

const struct hl_driver_ops hl_driver_kvm = {
    .name = "kvm",
    .device = "/dev/kvm",
    .is_boundary = true,
    .system_calls = true,
    .trackers = trackers,
    .tracker_count = HL_ARRAY_SIZE(trackers),
    .create = create,
    .destroy = destroy,
    .regs = registers,
    .set_thread = hl_kvm_set_thread,
    .run = run,
    .kick = hl_kvm_kick,
    .finish = hl_kvm_finish,
    .renew = hl_kvm_renew,
    .state_size = sizeof(struct hl_kvm_state),
    .save = hl_kvm_save,
    .load = hl_kvm_load,
};
