/* /dev/mshv as a process meets it, answered by another one as the kernels
 * would: the current one, and two older ones.  One machine at a time; no guest
 * runs: one instruction is known, which leaves. */
#ifndef HL_TESTS_MSHV_KERNEL_H
#define HL_TESTS_MSHV_KERNEL_H

#include "notify.h"
#include "vm/driver.h"
#include "vm/mshv/uapi.h"

#define PAGE HL_MSHV_PAGE
#define XSAVE 2696     /* what the hypervisor has of it, with AVX-512 */
#define WRITTEN 0x1000 /* pages of the guest that are told of */

enum { CURRENT, OLDER, OLDER_PADDED, INTERFACES };
enum step {
    OPEN,
    CREATE,
    INITIALIZE,
    CREATE_VP,
    MAP,
    SET,
    GET,
    GET_STATE,
    SET_STATE,
    RUN_VP,
    TRACK,
    ASK,
    STEPS
};

static const struct {
    unsigned long current, older;
    uint16_t code; /* of a hypercall */
    const char *on;
} steps[STEPS] = {
    [CREATE] = {HL_MSHV_CREATE_PARTITION, HL_MSHV_OLD_CREATE_PARTITION, 0,
                "mshv"},
    [INITIALIZE] = {HL_MSHV_INITIALIZE_PARTITION, 0, 0, "partition"},
    [CREATE_VP] = {HL_MSHV_CREATE_VP, HL_MSHV_OLD_CREATE_VP, 0, "partition"},
    [MAP] = {HL_MSHV_SET_GUEST_MEMORY, HL_MSHV_OLD_MAP_MEMORY, 0, "partition"},
    [SET] = {HL_MSHV_ROOT_HVCALL, HL_MSHV_OLD_SET_REGISTERS,
             HL_HVCALL_SET_VP_REGISTERS, "vp"},
    [GET] = {HL_MSHV_ROOT_HVCALL, HL_MSHV_OLD_GET_REGISTERS,
             HL_HVCALL_GET_VP_REGISTERS, "vp"},
    [GET_STATE] = {HL_MSHV_GET_VP_STATE, HL_MSHV_OLD_GET_VP_STATE, 0, "vp"},
    [SET_STATE] = {HL_MSHV_SET_VP_STATE, HL_MSHV_OLD_SET_VP_STATE, 0, "vp"},
    [RUN_VP] = {HL_MSHV_RUN_VP, HL_MSHV_OLD_RUN_VP, 0, "vp"},
    /* One that takes long, and so may not be made on a vCPU. */
    [TRACK] = {HL_MSHV_ROOT_HVCALL, HL_MSHV_OLD_SET_PROPERTY,
               HL_HVCALL_SET_PARTITION_PROPERTY, "partition"},
    [ASK] = {HL_MSHV_GET_ACCESS_BITMAP, HL_MSHV_OLD_GET_ACCESS, 0,
             "partition"},
};

/* In memory that both processes share; one of them waits for the other. */
static struct kernel {
    int interface;

    /* After `skip` passes of a step so many fail.  Or each is refused once
     * with EAGAIN, but not RUN_VP and ASK; or no number is known. */
    enum step step;
    unsigned skip, times;
    int error;
    bool twice, was_refused, unknown;

    /* The last partition, and its vCPU. */
    bool initialized, has_vp, tracks;
    struct {
        uint64_t page, count, host;
    } slots[HL_VM_SLOTS];
    size_t slot_count;
    struct hl_hv_register registers[64];
    size_t register_count;
    uint64_t next_rip; /* that must be set next; 0: any */
    unsigned char xsave[XSAVE];
    bool written[WRITTEN]; /* by page of the guest */

    char wrong[160]; /* what the driver did: the first */
} *kernel;

static int64_t refuse(int line, const char *what)
{
    if (kernel->wrong[0] == 0)
        snprintf(kernel->wrong, sizeof kernel->wrong, "%d: %s", line, what);
    return -EINVAL;
}
#define EXPECT(condition)                                                     \
    do {                                                                      \
        if (!(condition))                                                     \
            return refuse(__LINE__, #condition);                              \
    } while (0)

static bool is_zero(const uint8_t *bytes, size_t count)
{
    while (count > 0 && bytes[count - 1] == 0)
        count--;
    return count == 0;
}

static bool is_planned(enum step step)
{
    if (step != kernel->step || kernel->times == 0)
        return false;
    if (kernel->skip > 0) {
        kernel->skip--;
        return false;
    }
    kernel->times--;
    return true;
}

static int64_t open_file(const struct notified *child)
{
    const __u64 *args = child->call.args;
    const __u64 *path = child->call.nr == __NR_open ? args : args + 1;
    char name[sizeof "/dev/mshv"];

    if (!notify_read(child, path[0], name, sizeof name) ||
        memcmp(name, "/dev/mshv", sizeof name) != 0)
        return NOTIFY_CONTINUE;
    EXPECT(path[1] == (O_RDWR | O_CLOEXEC));
    if (is_planned(OPEN))
        return -kernel->error;
    return notify_give(child, "mshv");
}

static int64_t create_partition(const struct notified *child,
                                const struct hl_mshv_create_partition *create)
{
    if (kernel->interface == CURRENT)
        EXPECT(create->flags == 0 && create->isolation == 0);
    kernel->initialized = kernel->interface != CURRENT;
    kernel->has_vp = kernel->tracks = false;
    kernel->slot_count = kernel->register_count = 0;
    kernel->next_rip = 0;
    return notify_give(child, "partition");
}

static int64_t create_vp(const struct notified *child,
                         const struct hl_mshv_create_vp *vp)
{
    EXPECT(kernel->initialized && !kernel->has_vp && vp->vp_index == 0);
    kernel->has_vp = true;
    return notify_give(child, "vp");
}

static int64_t map(const struct hl_mshv_memory *new)
{
    const struct hl_mshv_old_memory *old = (const void *)new;
    uint64_t count = new->size / PAGE;

    EXPECT(count > 0 && new->size % PAGE == 0);
    EXPECT(new->userspace_addr % PAGE == 0);
    if (kernel->interface == CURRENT)
        EXPECT(new->flags == 3 && is_zero(new->reserved, 7));
    else
        EXPECT(old->flags == 0xf && old->padding == 0);
    for (size_t i = 0; i < kernel->slot_count; i++) {
        EXPECT(new->guest_pfn + count <= kernel->slots[i].page ||
               new->guest_pfn >=
                   kernel->slots[i].page + kernel->slots[i].count);
        EXPECT(new->userspace_addr + new->size <= kernel->slots[i].host ||
               new->userspace_addr >=
                   kernel->slots[i].host + kernel->slots[i].count *PAGE);
    }
    EXPECT(kernel->slot_count < HL_VM_SLOTS);
    kernel->slots[kernel->slot_count].page = new->guest_pfn;
    kernel->slots[kernel->slot_count].count = count;
    kernel->slots[kernel->slot_count++].host = new->userspace_addr;
    return 0;
}

/* Where the child has so many pages of the guest's, or 0. */
static uint64_t find(uint64_t page, uint64_t count)
{
    for (size_t i = 0; i < kernel->slot_count; i++)
        if (page >= kernel->slots[i].page &&
            page + count <= kernel->slots[i].page + kernel->slots[i].count)
            return kernel->slots[i].host +
                   (page - kernel->slots[i].page) * PAGE;
    return 0;
}

/* All are zero at first. */
static union hl_hv_value *value(uint32_t name)
{
    size_t i = 0;

    while (i < kernel->register_count && kernel->registers[i].name != name)
        i++;
    if (i == kernel->register_count)
        kernel->registers[kernel->register_count++ % 64] =
            (struct hl_hv_register){.name = name};
    return &kernel->registers[i % 64].value;
}

static int64_t set(const struct hl_hv_register *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        EXPECT(list[i].reserved1 == 0 && list[i].reserved2 == 0);
        if (list[i].name == HL_HV_RIP && kernel->next_rip) {
            EXPECT(list[i].value.u64[0] == kernel->next_rip);
            kernel->next_rip = 0;
        }
        *value(list[i].name) = list[i].value;
    }
    return 0;
}

static int64_t track(const void *property)
{
    const struct hl_mshv_old_property *p = property;

    EXPECT(p->code == HL_HV_GPA_PAGE_ACCESS_TRACKING && p->padding == 0);
    EXPECT(p->value == 1 && kernel->initialized);
    kernel->tracks = true;
    memset(kernel->written, 1, sizeof kernel->written);
    return 0;
}

/* Numbers of ours in the input would be lost: the kernel's replaces it. */
static int64_t hypercall(const struct notified *child, enum step step,
                         struct hl_mshv_hvcall *call)
{
    _Alignas(16) unsigned char in[PAGE];
    const struct hl_hv_registers_head *head = (const void *)in;
    const uint32_t *names = (const void *)(head + 1);
    size_t entry = step == SET ? sizeof(struct hl_hv_register) : 4;

    EXPECT(call->status == 0 && is_zero(call->reserved, 6));
    EXPECT(call->in && call->in_size >= 8 && call->in_size <= PAGE);
    EXPECT(notify_read(child, call->in, in, call->in_size));
    EXPECT(head->partition == 0);
    if (step == TRACK) {
        EXPECT(call->reps == 0 && call->in_size == 24 && call->out == 0);
        return track(in + 8);
    }
    EXPECT(head->vp_index == 0 && head->vtl == 0 && call->reps > 0);
    EXPECT(call->in_size == sizeof *head + call->reps * entry);
    if (step == SET)
        return set((const void *)names, call->reps);
    EXPECT(call->out && call->out_size == call->reps * 16);
    for (size_t i = 0; i < call->reps; i++)
        EXPECT(notify_write(child, call->out + i * 16, value(names[i]), 16));
    return 0;
}

static int64_t old_registers(const struct notified *child, enum step step,
                             const struct hl_mshv_old_registers *call)
{
    struct hl_hv_register list[64];
    size_t count = (size_t)call->count;

    EXPECT(call->count > 0 && call->count <= 64 && call->padding == 0);
    EXPECT(notify_read(child, call->registers, list, count * sizeof list[0]));
    if (step == SET)
        return set(list, count);
    for (size_t i = 0; i < count; i++)
        list[i].value = *value(list[i].name);
    EXPECT(notify_write(child, call->registers, list, count * sizeof list[0]));
    return 0;
}

static int64_t move_state(const struct notified *child, enum step step,
                          struct hl_mshv_vp_state *state)
{
    EXPECT(state->type == HL_MSHV_STATE_XSAVE && is_zero(state->reserved, 3));
    EXPECT(state->size >= XSAVE && state->size % PAGE == 0);
    EXPECT(state->buffer % PAGE == 0);
    state->size = XSAVE;
    if (step == SET_STATE)
        EXPECT(notify_read(child, state->buffer, kernel->xsave, XSAVE));
    else
        EXPECT(notify_write(child, state->buffer, kernel->xsave, XSAVE));
    return 0;
}

/* The tables map all that is here where it is. */
static int64_t run_vp(const struct notified *child,
                      struct hl_hv_message *message)
{
    const uint64_t rip = value(HL_HV_RIP)->u64[0];
    const uint64_t page = find(rip / PAGE, 1);
    struct hl_hv_io_port_intercept io = {
        .header = {.instruction_length = 2,
                   .access_type = HL_HV_ACCESS_WRITE,
                   .execution_state = 3,
                   .cs = value(HL_HV_CS)->segment,
                   .rip = rip,
                   .rflags = value(HL_HV_RFLAGS)->u64[0]},
        .access_info = 1,
        .rax = value(HL_HV_RAX)->u64[0],
    };
    unsigned char code[2];

    EXPECT((value(HL_HV_CS)->segment.attributes >> 5 & 3) == 3);
    EXPECT(find(value(HL_HV_CR3)->u64[0] / PAGE, 1));
    EXPECT(page && notify_read(child, page + rip % PAGE, code, 2));
    EXPECT(code[0] == 0xe6); /* OUT */
    io.port_number = code[1];
    *message = (struct hl_hv_message){.type = HL_HVMSG_X64_IO_PORT_INTERCEPT,
                                      .payload_size = sizeof io};
    memcpy(message->payload, &io, sizeof io);
    kernel->next_rip = rip + 2;
    return 0;
}

/* Bits behind the end are set. */
static int64_t ask(const struct notified *child,
                   const struct hl_mshv_access_bitmap *ask)
{
    const uint64_t count = ask->page_count;
    uint8_t bits[8] = {0};

    EXPECT(kernel->tracks && ask->type == HL_MSHV_ACCESS_DIRTY &&
           ask->op == HL_MSHV_OP_CLEAR && is_zero(ask->reserved, 6));
    EXPECT(count > 0 && find(ask->gpa_page, count) && ask->bitmap);
    memset(bits, 0xff, (count + 7) / 8);
    for (size_t i = 0; i < count; i++) {
        if (!kernel->written[ask->gpa_page + i])
            bits[i / 8] &= (uint8_t)~(1u << i % 8);
        kernel->written[ask->gpa_page + i] = false;
    }
    if (is_planned(ASK))
        return -kernel->error; /* what was cleared is lost */
    EXPECT(notify_write(child, ask->bitmap, bits, (count + 7) / 8));
    return 0;
}

/* At most 8 pages an answer; all were accessed. */
static int64_t old_ask(const struct notified *child, void *argument)
{
    const bool padded = kernel->interface == OLDER_PADDED;
    struct hl_mshv_old_access_padded a;
    struct hl_mshv_old_access packed;
    uint8_t states[8];

    memcpy(&a, argument, sizeof a);
    memcpy(&packed, argument, sizeof packed);
    if (!padded)
        a = (struct hl_mshv_old_access_padded){packed.count, 0, packed.flags,
                                               packed.gpa_page, packed.states};
    EXPECT(kernel->tracks && a.flags == HL_MSHV_OLD_CLEAR_DIRTY);
    EXPECT(a.count > 0 && a.padding == 0 && find(a.gpa_page, a.count));
    if (a.count > 8)
        a.count = 8;
    for (size_t i = 0; i < a.count; i++) {
        states[i] = kernel->written[a.gpa_page + i] ? 3 : 1;
        kernel->written[a.gpa_page + i] = false;
    }
    if (is_planned(ASK))
        return -kernel->error;
    EXPECT(notify_write(child, a.states, states, a.count));
    memcpy(argument, &a.count, sizeof a.count); /* first in both */
    return 0;
}

static int64_t make(const struct notified *child, enum step step, void *a)
{
    const bool is_current = kernel->interface == CURRENT;

    switch (step) {
    case CREATE:
        return create_partition(child, a);
    case INITIALIZE:
        kernel->initialized = true;
        return 0;
    case CREATE_VP:
        return create_vp(child, a);
    case MAP:
        return map(a);
    case SET:
    case GET:
        return is_current ? hypercall(child, step, a)
                          : old_registers(child, step, a);
    case GET_STATE:
    case SET_STATE:
        return move_state(child, step, a);
    case RUN_VP:
        return run_vp(child, a);
    case TRACK:
        return is_current ? hypercall(child, step, a) : track(a);
    default:
        return is_current ? ask(child, a) : old_ask(child, a);
    }
}

/* The number of every step that this kernel knows. */
static enum step step_of(unsigned long request, uint16_t code)
{
    enum step step = CREATE;

    if (kernel->interface == OLDER_PADDED) {
        if (request == HL_MSHV_OLD_GET_ACCESS_PADDED)
            return ASK;
        if (request == HL_MSHV_OLD_GET_ACCESS)
            return STEPS;
    }
    while (step < STEPS &&
           (kernel->interface == CURRENT
                ? request != steps[step].current ||
                      (steps[step].code && code != steps[step].code)
                : request != steps[step].older))
        step++;
    return step;
}

static int64_t answer(const struct notified *child)
{
    _Alignas(16) unsigned char argument[256] = {0};
    struct hl_mshv_hvcall *call = (void *)argument;
    const unsigned long request = child->call.args[1];
    const size_t size = _IOC_SIZE(request);
    int64_t result;

    if (child->call.nr != __NR_ioctl)
        return open_file(child);
    EXPECT(size <= sizeof argument);
    const bool is_given =
        !(_IOC_DIR(request) & _IOC_WRITE) ||
        notify_read(child, child->call.args[2], argument, size);
    enum step step = step_of(request, call->code);
    if (step == STEPS || kernel->unknown)
        return -ENOTTY;
    if (!is_given)
        return -EFAULT;
    EXPECT(notify_is(child, child->call.args[0], steps[step].on));
    kernel->was_refused =
        kernel->twice && step != RUN_VP && step != ASK && !kernel->was_refused;
    if (kernel->was_refused) {
        if (request == HL_MSHV_ROOT_HVCALL) {
            call->status = 11; /* HV_STATUS_INSUFFICIENT_MEMORY */
            call->reps = 0;
        }
        result = -EAGAIN;
    } else if (step != ASK && is_planned(step)) {
        return -kernel->error;
    } else {
        result = make(child, step, argument);
    }
    if (_IOC_DIR(request) & _IOC_READ && (result == 0 || result == -EAGAIN))
        EXPECT(notify_write(child, child->call.args[2], argument, size));
    return result;
}

#endif
