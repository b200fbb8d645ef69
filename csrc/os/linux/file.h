/* Which file a descriptor is.  Its number does not say: other code may close
 * it (os.closerange, a daemon that starts), and the next file that is opened
 * gets the number. */
#ifndef HL_OS_LINUX_FILE_H
#define HL_OS_LINUX_FILE_H

#include <sys/types.h>

#include "base.h"

struct hl_file {
    dev_t device;
    ino_t inode;
};

/* Which one it is now. */
int hl_file_of(int fd, struct hl_file *file) HL_MUST_CHECK;

/* Is it that one?  Files without a name (those of KVM, epoll, eventfd) may
 * share an inode: then it may be another of these. */
bool hl_file_is(int fd, const struct hl_file *file) HL_MUST_CHECK;

/* Is this what files answer to an ioctl of others?  Whatever else goes wrong,
 * such as EIO in a child of fork, is no reason to take a file for another's.
 * err: -errno. */
bool hl_file_is_others_answer(int err) HL_MUST_CHECK;

#endif
