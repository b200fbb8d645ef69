/* The interface of /dev/mshv in Microsoft's own kernels before Linux 6.15:
 * calls of its own for registers and properties, and a byte a page that says
 * whether it is dirty. */
#include <string.h>

#include "vm/mshv/machine.h"

static int create(int device, const char **what)
{
    struct hl_mshv_old_create_partition create = {0};

    *what = "MSHV_CREATE_PARTITION";
    return hl_mshv_ioctl(hl_mshv_calls, device, HL_MSHV_OLD_CREATE_PARTITION,
                         &create);
}

static int map(const struct hl_mshv *m, const struct hl_vm_slot *slot)
{
    struct hl_mshv_old_memory memory = {
        .size = slot->size,
        .guest_pfn = slot->addr / HL_MSHV_PAGE,
        .userspace_addr = (uintptr_t)slot->host,
        .flags =
            HL_HV_MAP_READABLE | HL_HV_MAP_WRITABLE | HL_HV_MAP_EXECUTABLE,
    };

    return hl_mshv_ioctl(m->calls, m->vm_fd, HL_MSHV_OLD_MAP_MEMORY, &memory);
}

static int get(const struct hl_mshv *m, struct hl_hv_register *list,
               size_t count)
{
    struct hl_mshv_old_registers call = {
        .count = (int32_t)count,
        .registers = (uintptr_t)list,
    };

    return hl_mshv_ioctl(m->calls, m->cpu_fd, HL_MSHV_OLD_GET_REGISTERS,
                         &call);
}

static int set(const struct hl_mshv *m, const struct hl_hv_register *list,
               size_t count)
{
    struct hl_mshv_old_registers call = {
        .count = (int32_t)count,
        .registers = (uintptr_t)list,
    };

    return hl_mshv_ioctl(m->calls, m->cpu_fd, HL_MSHV_OLD_SET_REGISTERS,
                         &call);
}

static int track(const struct hl_mshv *m)
{
    struct hl_mshv_old_property property = {
        .code = HL_HV_GPA_PAGE_ACCESS_TRACKING,
        .value = 1,
    };

    return hl_mshv_ioctl(m->calls, m->vm_fd, HL_MSHV_OLD_SET_PROPERTY,
                         &property);
}

/* Kernels differ in whether the structure is packed, and so in the number. */
static int ask(const struct hl_mshv *m, uint64_t gpa_page, uint32_t *count,
               uint8_t *states)
{
    struct hl_mshv_old_access packed = {
        .count = *count,
        .flags = HL_MSHV_OLD_CLEAR_DIRTY,
        .gpa_page = gpa_page,
        .states = (uintptr_t)states,
    };
    struct hl_mshv_old_access_padded padded = {
        .count = *count,
        .flags = HL_MSHV_OLD_CLEAR_DIRTY,
        .gpa_page = gpa_page,
        .states = (uintptr_t)states,
    };

    int rc = m->calls->ioctl(m->vm_fd, HL_MSHV_OLD_GET_ACCESS, &packed);
    *count = packed.count;
    if (rc >= 0 || errno != ENOTTY)
        return rc < 0 ? -errno : 0;
    rc = m->calls->ioctl(m->vm_fd, HL_MSHV_OLD_GET_ACCESS_PADDED, &padded);
    *count = padded.count;
    return rc < 0 ? -errno : 0;
}

/* It may answer for fewer pages than it was asked about, but not for none. */
static int take_dirty(const struct hl_mshv *m, uint64_t gpa_page,
                      size_t page_count, uint64_t *bits, void *room)
{
    const uint8_t *states = room;

    memset(room, 0, page_count);
    for (size_t done = 0; done < page_count;) {
        uint32_t count = (uint32_t)(page_count - done);
        const uint32_t asked = count;
        int err = ask(m, gpa_page + done, &count, (uint8_t *)room + done);
        if (err < 0)
            return err;
        if (count == 0 || count > asked)
            return -EIO;
        done += count;
    }
    for (size_t page = 0; page < page_count; page++)
        if (states[page] & HL_MSHV_STATE_DIRTY)
            bits[page / 64] |= UINT64_C(1) << (page % 64);
    return 0;
}

const struct hl_mshv_interface hl_mshv_older = {
    .name = "older",
    .create_vp = HL_MSHV_OLD_CREATE_VP,
    .run = HL_MSHV_OLD_RUN_VP,
    .create = create,
    .map = map,
    .get = get,
    .set = set,
    .get_state = HL_MSHV_OLD_GET_VP_STATE,
    .set_state = HL_MSHV_OLD_SET_VP_STATE,
    .track = track,
    .take_dirty = take_dirty,
};
