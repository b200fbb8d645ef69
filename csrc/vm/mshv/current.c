/* The interface of /dev/mshv since Linux 6.15 (include/uapi/linux/mshv.h):
 * registers move by hypercalls, and dirty pages are a bitmap. */
#include <string.h>

#include "vm/mshv/machine.h"

/* Its input is at most a page. */
static int hypercall(const struct hl_mshv *m, int fd,
                     struct hl_mshv_hvcall *call)
{
    return hl_mshv_ioctl(m->calls, fd, HL_MSHV_ROOT_HVCALL, call);
}

static int create(int device, const char **what)
{
    struct hl_mshv_create_partition create = {.flags = 0}; /* no APIC */

    *what = "MSHV_CREATE_PARTITION";
    int fd = hl_mshv_ioctl(hl_mshv_calls, device, HL_MSHV_CREATE_PARTITION,
                           &create);
    if (fd < 0)
        return fd;
    *what = "MSHV_INITIALIZE_PARTITION";
    int err =
        hl_mshv_ioctl(hl_mshv_calls, fd, HL_MSHV_INITIALIZE_PARTITION, NULL);
    if (err < 0) {
        hl_mshv_calls->close(fd);
        return err;
    }
    return fd;
}

static int map(const struct hl_mshv *m, const struct hl_vm_slot *slot)
{
    struct hl_mshv_memory memory = {
        .size = slot->size,
        .guest_pfn = slot->addr / HL_MSHV_PAGE,
        .userspace_addr = (uintptr_t)slot->host,
        .flags = HL_MSHV_MEMORY_WRITABLE | HL_MSHV_MEMORY_EXECUTABLE,
    };

    return hl_mshv_ioctl(m->calls, m->vm_fd, HL_MSHV_SET_GUEST_MEMORY,
                         &memory);
}

/* All of a list fits a page; one that was done in part was refused. */
#define MOST 64
_Static_assert(sizeof(struct hl_hv_registers_head) +
                       MOST * sizeof(struct hl_hv_register) <=
                   HL_MSHV_PAGE,
               "a hypercall's input");

static int get(const struct hl_mshv *m, struct hl_hv_register *list,
               size_t count)
{
    struct {
        struct hl_hv_registers_head head;
        uint32_t names[MOST];
    } in = {.head.vp_index = 0};
    union hl_hv_value out[MOST];
    struct hl_mshv_hvcall call = {
        .code = HL_HVCALL_GET_VP_REGISTERS,
        .reps = (uint16_t)count,
        .in_size = (uint16_t)(sizeof in.head + count * sizeof in.names[0]),
        .out_size = (uint16_t)(count * sizeof out[0]),
        .in = (uintptr_t)&in,
        .out = (uintptr_t)out,
    };

    for (size_t i = 0; i < count; i++)
        in.names[i] = list[i].name;
    int err = hypercall(m, m->cpu_fd, &call);
    if (err < 0)
        return err;
    if (call.reps != count)
        return -EIO;
    for (size_t i = 0; i < count; i++)
        list[i].value = out[i];
    return 0;
}

static int set(const struct hl_mshv *m, const struct hl_hv_register *list,
               size_t count)
{
    struct {
        struct hl_hv_registers_head head;
        struct hl_hv_register registers[MOST];
    } in = {.head.vp_index = 0};
    struct hl_mshv_hvcall call = {
        .code = HL_HVCALL_SET_VP_REGISTERS,
        .reps = (uint16_t)count,
        .in_size = (uint16_t)(sizeof in.head + count * sizeof in.registers[0]),
        .in = (uintptr_t)&in,
    };

    memcpy(in.registers, list, count * sizeof in.registers[0]);
    int err = hypercall(m, m->cpu_fd, &call);
    return err < 0 ? err : call.reps != count ? -EIO : 0;
}

static int track(const struct hl_mshv *m)
{
    struct hl_hv_property property = {
        .code = HL_HV_GPA_PAGE_ACCESS_TRACKING,
        .value = 1,
    };
    struct hl_mshv_hvcall call = {
        .code = HL_HVCALL_SET_PARTITION_PROPERTY,
        .in_size = sizeof property,
        .in = (uintptr_t)&property,
    };

    return hypercall(m, m->vm_fd, &call);
}

/* Without an operation the kernel sets the bits: there is no mere look. */
static int take_dirty(const struct hl_mshv *m, uint64_t gpa_page,
                      size_t page_count, uint64_t *bits, void *room)
{
    struct hl_mshv_access_bitmap take = {
        .type = HL_MSHV_ACCESS_DIRTY,
        .op = HL_MSHV_OP_CLEAR,
        .page_count = page_count,
        .gpa_page = gpa_page,
        .bitmap = (uintptr_t)bits,
    };

    (void)room;
    int rc = m->calls->ioctl(m->vm_fd, HL_MSHV_GET_ACCESS_BITMAP, &take);
    return rc < 0 ? -errno : 0;
}

const struct hl_mshv_interface hl_mshv_current = {
    .name = "current",
    .create_vp = HL_MSHV_CREATE_VP,
    .run = HL_MSHV_RUN_VP,
    .create = create,
    .map = map,
    .get = get,
    .set = set,
    .get_state = HL_MSHV_GET_VP_STATE,
    .set_state = HL_MSHV_SET_VP_STATE,
    .track = track,
    .take_dirty = take_dirty,
};
