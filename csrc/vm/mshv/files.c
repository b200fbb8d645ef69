/* A machine's two descriptors, and whether they still are its own when it
 * ends: whoever closed them (os.closerange, a daemon that starts) may have
 * something else by their numbers, which is to be left alone.
 *
 * Files of /dev/mshv share an inode, with those of epoll and others.  A vCPU
 * is known by the machine's number in a register that no guest can change or
 * use (SYSENTER, without a code segment for it), and that is part of no state.
 * A partition has no such thing: it is one, and is taken for ours beside our
 * vCPU.
 *
 * In a child of fork the vCPU is not asked: it answers when it does not run,
 * and may be running in the parent, for as long as the guest likes. */
#include <stdatomic.h>

#include "os/forked.h"
#include "vm/mshv/machine.h"

void hl_mshv_number(struct hl_mshv *m)
{
    static _Atomic uint64_t last;

    m->number = atomic_fetch_add(&last, 1) + 1;
    m->made_by = hl_fork_generation();
}

int hl_mshv_mark_files(struct hl_mshv *m)
{
    const struct hl_hv_register mark = {.name = HL_HV_SYSENTER_ESP,
                                        .value.u64 = {m->number}};

    int err = m->interface->set(m, &mark, 1);
    if (err == 0)
        err = hl_file_of(m->vm_fd, &m->vm_file);
    if (err == 0)
        err = hl_file_of(m->cpu_fd, &m->cpu_file);
    m->marked = err == 0;
    return err;
}

/* It knows the call, whose argument nobody can read. */
static bool is_partition(const struct hl_mshv *m)
{
    return m->calls->ioctl(m->vm_fd, m->interface->create_vp, NULL) >= 0 ||
           !hl_file_is_others_answer(-errno);
}

static bool are_ours(const struct hl_mshv *m)
{
    uint64_t number;

    if (!hl_file_is(m->vm_fd, &m->vm_file) ||
        !hl_file_is(m->cpu_fd, &m->cpu_file) || !is_partition(m))
        return false;
    if (m->made_by != hl_fork_generation())
        return true;
    int err = hl_mshv_get_one(m, HL_HV_SYSENTER_ESP, &number);
    return err < 0 ? !hl_file_is_others_answer(err) : number == m->number;
}

void hl_mshv_close_files(struct hl_mshv *m)
{
    if (m->marked && !are_ours(m))
        return;
    if (m->cpu_fd >= 0)
        m->calls->close(m->cpu_fd);
    if (m->vm_fd >= 0)
        m->calls->close(m->vm_fd);
}
