#include "os/linux/descriptor.h"

#include <fcntl.h>
#include <unistd.h>

#include "os/linux/file.h"
#include "os/lock.h"

/* Every userfaultfd has an inode of its own since Linux 5.17; before, all
 * share one, and another userfaultfd would be mistaken for ours. */
struct slot {
    bool open;
    int fd;
    unsigned serial; /* counts the files that were here */
    struct hl_file file;
};

static struct hl_lock lock;
static struct slot slots[HL_DESCRIPTORS];

static bool is_still(const struct slot *slot)
{
    return slot->open && hl_file_is(slot->fd, &slot->file);
}

/* On error the slot is as before. */
static int fill(struct slot *slot, hl_descriptor_opener *opener, void *context)
{
    struct hl_file file;
    int fd = opener(context);

    if (fd < 0)
        return fd;
    int err = hl_file_of(fd, &file);
    if (err < 0)
        close(fd);
    else
        *slot = (struct slot){true, fd, slot->serial + 1, file};
    return err;
}

int hl_descriptor_get(enum hl_descriptor which, hl_descriptor_opener *opener,
                      void *context, struct hl_descriptor_handle *handle)
{
    struct slot *slot = &slots[which];

    hl_lock_acquire(&lock);
    int err = is_still(slot) ? 0 : fill(slot, opener, context);
    if (err == 0)
        *handle = (struct hl_descriptor_handle){slot->fd, slot->serial};
    hl_lock_release(&lock);
    return err;
}

static int open_proc(void *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int hl_descriptor_of_proc(enum hl_descriptor which)
{
    char maps[] = "/proc/self/maps", pagemap[] = "/proc/self/pagemap";

    struct hl_descriptor_handle handle;
    int err = hl_descriptor_get(which, open_proc,
                                which == HL_DESCRIPTOR_MAPS ? maps : pagemap,
                                &handle);
    return err < 0 ? err : handle.fd;
}

bool hl_descriptor_is_good(enum hl_descriptor which,
                           const struct hl_descriptor_handle *handle)
{
    const struct slot *slot = &slots[which];

    hl_lock_acquire(&lock);
    bool good = slot->serial == handle->serial && is_still(slot);
    hl_lock_release(&lock);
    return good;
}

/* Closing what was inherited early matters to the parent: while a child holds
 * a copy of a userfaultfd, the parent's closing would not end protection. */
static void in_child(struct hl_lock *unused)
{
    (void)unused;
    for (int i = 0; i < HL_DESCRIPTORS; i++) {
        if (is_still(&slots[i]))
            close(slots[i].fd);
        slots[i].open = false;
    }
}

__attribute__((constructor)) static void stay_usable_after_fork(void)
{
    hl_lock_init(&lock, HL_RANK_DESCRIPTOR);
    lock.in_child = in_child;
}
