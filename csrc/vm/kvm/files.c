/* A machine's two descriptors, and whether they still are its own.
 *
 * Machines outlive their sandboxes (machine.h), so whoever closes every
 * descriptor of the process (os.closerange, a daemon that starts) may have no
 * sandbox that he could close before, and what he opens next gets the numbers.
 * They are asked about where a machine is used again, and where it ends: a run
 * with another's vCPU would be the end of all isolation, and closing another's
 * file is no better.
 *
 * All of KVM's files share an inode, with those of epoll and others.  A vCPU
 * is known by its kvm_run, which is one page however often it is mapped: the
 * end of it, which KVM never touches, has the machine's number.  A VM has no
 * such thing: it is one, and is taken for ours beside our vCPU.
 *
 * Mapping a page takes 10 us or more, and is left out where no machine was
 * made since the last time: machines of somebody else's in this process, with
 * both of our numbers, are not thought of. */
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/joined.h"
#include "os/memory.h"
#include "vm/kvm/machine.h"

static void *place_of_mark(struct kvm_run *kvm_run)
{
    return kvm_run->s.padding + sizeof kvm_run->s.padding - sizeof(uint64_t);
}

/* Of the machine that was begun last.  It counts before a descriptor of it can
 * have a number that was another's. */
static _Atomic uint64_t last;

void hl_kvm_number(struct hl_kvm *k)
{
    k->number = atomic_fetch_add(&last, 1) + 1;
}

int hl_kvm_mark_files(struct hl_kvm *k)
{
    int err = hl_file_of(k->vm_fd, &k->vm_file);
    if (err == 0)
        err = hl_file_of(k->cpu_fd, &k->cpu_file);
    if (err < 0)
        return err;
    memcpy(place_of_mark(k->kvm_run), &k->number, sizeof k->number);
    k->checked = k->number;
    return 0;
}

static bool is_vm(int fd)
{
    return ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) >= 0 ||
           !hl_file_is_others_answer(-errno);
}

/* ending: kvm_run is about to be unmapped.  Then the page is mapped behind it,
 * where run.c leaves room, and is unmapped with it: each call of munmap is a
 * call of the kernel to every machine of the process. */
static int check(struct hl_kvm *k, bool ending)
{
    char *behind = (char *)k->kvm_run + k->kvm_run_size;
    const uint64_t now = atomic_load(&last);
    uint64_t number;

    if (!hl_file_is(k->vm_fd, &k->vm_file) ||
        !hl_file_is(k->cpu_fd, &k->cpu_file) || !is_vm(k->vm_fd))
        return -EBADF;
    if (k->checked == now)
        return 0;
    void *page = mmap(ending ? behind : NULL, sizeof *k->kvm_run, PROT_READ,
                      MAP_SHARED, k->cpu_fd, 0);
    if (page == MAP_FAILED)
        return hl_file_is_others_answer(-errno) ? -EBADF : -errno;
    memcpy(&number, place_of_mark(page), sizeof number);
    if (ending && page == behind)
        k->kvm_run_size += hl_page_size();
    else
        munmap(page, sizeof *k->kvm_run);
    if (number != k->number)
        return -EBADF;
    k->checked = now;
    return 0;
}

int hl_kvm_check_files(struct hl_kvm *k) { return check(k, false); }

void hl_kvm_close_files(struct hl_kvm *k)
{
    bool marked = k->checked > 0; /* or else they were opened just now */

    k->checked = 0; /* this time they are looked at in any case */
    int err = marked ? check(k, true) : 0;
    if (k->kvm_run)
        hl_joined_release(k->kvm_run, k->kvm_run_size);
    if (err == -EBADF)
        return;
    if (k->cpu_fd >= 0)
        close(k->cpu_fd);
    if (k->vm_fd >= 0)
        close(k->vm_fd);
}
