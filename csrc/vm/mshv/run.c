/* mshv: Microsoft's hypervisor, by /dev/mshv of a Linux that is its root
 * partition (include/uapi/linux/mshv.h; Hypervisor Top Level Functional
 * Specification, "TLFS").
 *
 * A call is three system calls: the general registers to the vCPU, RUN_VP,
 * and back.  What made the guest leave comes as the hypervisor's own message;
 * the instruction has not been executed then, so a port write is completed by
 * moving RIP behind it, and nothing is ever unfinished. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "os/map.h"
#include "vm/mshv/machine.h"
#include "vm/start.h"

#define DEVICE "/dev/mshv"

static int why_not_open(char *why, int err)
{
    switch (-err) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
        return hl_why(why, err,
                      "no " DEVICE ": this Linux is not the root partition "
                      "of Microsoft's hypervisor");
    case EACCES:
        return hl_why(why, err,
                      DEVICE ": no permission; it belongs to root, unless its "
                             "owner was changed");
    case EPERM:
    case ENOSYS:
        return hl_why(why, err,
                      DEVICE ": opening it is forbidden here, as in a "
                             "container without the device or by a seccomp "
                             "filter");
    default:
        return hl_why_errno(why, err, DEVICE);
    }
}

static int why_not_create(char *why, int err, const char *what)
{
    char step[HL_WHY_SIZE];

    if (err == -ENOTTY)
        return hl_why(why, err,
                      DEVICE ": neither interface that is known has %s", what);
    (void)hl_why(step, err, DEVICE ": %s", what);
    return hl_why_errno(why, err, step);
}

/* The steps of create; *what names the one that failed. */
static int set_up(struct hl_mshv *m, int device, const char **what)
{
    struct hl_mshv_create_vp vp = {0};

    m->interface = &hl_mshv_current;
    m->vm_fd = m->interface->create(device, what);
    if (m->vm_fd == -ENOTTY) {
        m->interface = &hl_mshv_older;
        m->vm_fd = m->interface->create(device, what);
    }
    if (m->vm_fd < 0)
        return m->vm_fd;
    *what = "MSHV_CREATE_VP";
    m->cpu_fd =
        hl_mshv_ioctl(m->calls, m->vm_fd, m->interface->create_vp, &vp);
    if (m->cpu_fd < 0)
        return m->cpu_fd;
    *what = "mapping guest memory";
    for (size_t i = 0; i < m->config.slot_count; i++) {
        int err = m->interface->map(m, &m->config.slots[i]);
        if (err < 0)
            return err;
    }
    int err = hl_mshv_set_up_cpu(m, what);
    if (err < 0)
        return err;
    *what = "marking the vCPU";
    return hl_mshv_mark_files(m);
}

static void destroy(struct hl_vm *vm)
{
    struct hl_mshv *m = hl_mshv_of(vm);

    hl_mshv_kick_free(m);
    hl_mshv_close_files(m);
    free(m->xsave);
    free(m);
}

static struct hl_mshv *new_machine(const struct hl_vm_config *config)
{
    struct hl_mshv *m = calloc(1, sizeof *m);

    if (m == NULL)
        return NULL;
    m->vm.ops = &hl_driver_mshv;
    m->calls = hl_mshv_calls;
    m->vm_fd = m->cpu_fd = -1;
    m->config = *config;
    m->regs.rflags = 2;
    hl_mshv_number(m);
    m->xsave = aligned_alloc(HL_MSHV_PAGE, HL_MSHV_XSAVE);
    if (m->xsave == NULL) {
        free(m);
        return NULL;
    }
    memset(m->xsave, 0, HL_MSHV_XSAVE);
    return m;
}

static int create(const struct hl_vm_config *config, struct hl_vm **out,
                  char *why)
{
    const char *what = "";
    int device = hl_mshv_calls->open(DEVICE, O_RDWR | O_CLOEXEC);
    if (device < 0)
        return why_not_open(why, -errno);
    struct hl_mshv *m = new_machine(config);
    if (m == NULL) {
        hl_mshv_calls->close(device);
        return hl_why(why, -ENOMEM, "out of memory");
    }
    /* Pinning memory ends early for any signal. */
    const sigset_t before = hl_signals_block();
    int err = set_up(m, device, &what);
    hl_signals_put_back(&before);
    m->calls->close(device);
    if (err < 0) {
        (void)why_not_create(why, err, what);
        destroy(&m->vm);
        return err;
    }
    *out = &m->vm;
    return 0;
}

static struct hl_vm_regs *registers(struct hl_vm *vm)
{
    return &hl_mshv_of(vm)->regs;
}

static int read_exception(struct hl_mshv *m, struct hl_exit *exit)
{
    uint64_t cr2;

    int err = hl_mshv_get_one(m, HL_HV_CR2, &cr2);
    return err < 0 ? err
                   : hl_vm_read_exception(&m->config, &m->regs, cr2, exit);
}

static int read_system_call(struct hl_mshv *m, int cpl, struct hl_exit *exit)
{
    *exit = (struct hl_exit){.reason = HL_EXIT_SYSTEM_CALL};
    if (!hl_vm_is_in_system_call(&m->config, m->regs.rip))
        return 0;
    hl_vm_read_system_call(&m->regs, exit);
    return cpl == 3 ? 0 : hl_mshv_leave_supervisor(m);
}

static int read_port(struct hl_mshv *m, const struct hl_hv_message *message,
                     struct hl_exit *exit)
{
    struct hl_hv_io_port_intercept io;

    memcpy(&io, message->payload, sizeof io);
    unsigned length = io.header.instruction_length & 15u;
    bool simple = io.header.access_type == HL_HV_ACCESS_WRITE && length > 0 &&
                  (io.access_info & (HL_HV_IO_STRING | HL_HV_IO_REP)) == 0 &&
                  (io.access_info & HL_HV_IO_SIZE) == 1;
    if (!simple)
        return 0;
    m->regs.rip = io.header.rip + length;
    if (io.port_number == HL_PORT_EXCEPTION)
        return read_exception(m, exit);
    if (io.port_number == HL_PORT_SYSTEM_CALL)
        return read_system_call(m, io.header.execution_state & 3, exit);
    if (io.port_number == HL_PORT_GUEST) {
        exit->reason = HL_EXIT_CALL;
        exit->value = m->regs.gpr[HL_RAX];
    }
    return 0;
}

static int read_message(struct hl_mshv *m, const struct hl_hv_message *message,
                        struct hl_exit *exit)
{
    struct hl_hv_memory_intercept memory;

    *exit =
        (struct hl_exit){.reason = HL_EXIT_UNKNOWN, .value = message->type};
    switch (message->type) {
    case HL_HVMSG_X64_IO_PORT_INTERCEPT:
        return read_port(m, message, exit);
    case HL_HVMSG_UNMAPPED_GPA:
    case HL_HVMSG_GPA_INTERCEPT:
        memcpy(&memory, message->payload, sizeof memory);
        exit->reason = HL_EXIT_BAD_ACCESS;
        exit->value = memory.gpa;
        return 0;
    case HL_HVMSG_UNRECOVERABLE_EXCEPTION:
        exit->reason = HL_EXIT_SHUTDOWN;
        return 0;
    default:
        return 0;
    }
}

/* -EINTR: for a signal, with the registers as they are by then. */
static int enter(struct hl_mshv *m, struct hl_hv_message *message)
{
    int err = hl_mshv_regs_out(m);
    if (err < 0)
        return err;
    int rc = m->calls->ioctl(m->cpu_fd, m->interface->run, message);
    err = rc < 0 ? -errno : 0;
    if (err < 0 && err != -EINTR)
        return err;
    int moved = hl_mshv_regs_in(m);
    return moved < 0 ? moved : err;
}

static int run(struct hl_vm *vm, struct hl_exit *exit)
{
    struct hl_mshv *m = hl_mshv_of(vm);
    struct hl_hv_message message = {0};

    int err = hl_mshv_kick_open(m);
    if (err < 0)
        return err;
    if (atomic_load(&m->kicked) && atomic_exchange(&m->kicked, false))
        err = -EINTR;
    else
        err = enter(m, &message);
    hl_mshv_kick_close(m);
    if (err == 0)
        return read_message(m, &message, exit);
    if (err != -EINTR)
        return err;
    atomic_store(&m->kicked, false); /* who asked did so before */
    *exit = (struct hl_exit){.reason = HL_EXIT_KICKED};
    return 0;
}

static const struct hl_vm_tracker trackers[] = {
    {&hl_mshv_dirty_ops, hl_mshv_dirty_open},
};

const struct hl_driver_ops hl_driver_mshv = {
    .name = "mshv",
    .device = DEVICE,
    .is_boundary = true,
    .pins_memory = true,
    .system_calls = true,
    .is_unseen = true,
    .trackers = trackers,
    .tracker_count = HL_ARRAY_SIZE(trackers),
    .create = create,
    .destroy = destroy,
    .regs = registers,
    .set_thread = hl_mshv_set_thread,
    .run = run,
    .kick = hl_mshv_kick,
    .state_size = sizeof(struct hl_mshv_state),
    .save = hl_mshv_save,
    .load = hl_mshv_load,
};
