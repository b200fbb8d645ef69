#include "os/page.h"
#include "os/linux/descriptor.h"
#include "os/linux/pagemap.h"
#include "os/linux/uapi.h"
#include "os/memory.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Asked by adding zero to the 32-bit word there in a futex operation, which
 * changes nothing and reports a refusal instead of raising a signal. */
bool hl_is_writable(uintptr_t addr)
{
    uint32_t here = 0; /* nobody waits on it: waking them does nothing */

    return syscall(SYS_futex, &here, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0L,
                   addr & ~(uintptr_t)3,
                   FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0)) >= 0;
}

/* Asked with a signal mask that the kernel reads before it refuses the call.
 */
bool hl_is_readable(uintptr_t addr)
{
    const int no_such_operation = -1;

    return syscall(SYS_rt_sigprocmask, no_such_operation, addr & ~(uintptr_t)7,
                   NULL, 8L) < 0 &&
           errno != EFAULT;
}

bool hl_is_behind_end(uintptr_t addr)
{
    size_t page = hl_page_size();

    return madvise((void *)(addr / page * page), page, MADV_POPULATE_READ) <
               0 &&
           errno == EFAULT; /* a missing right is EINVAL */
}

bool hl_is_in_memory(const void *addr, size_t size)
{
    const size_t page_size = hl_page_size();
    int fd = hl_descriptor_of_proc(HL_DESCRIPTOR_PAGEMAP);
    size_t page = (uintptr_t)addr / page_size;
    size_t end = ((uintptr_t)addr + size + page_size - 1) / page_size;
    uint64_t entry[64];

    while (fd >= 0 && page < end) {
        size_t n = end - page;
        if (n > HL_ARRAY_SIZE(entry))
            n = HL_ARRAY_SIZE(entry);
        if (pread(fd, entry, n * sizeof entry[0],
                  (off_t)(page * sizeof entry[0])) !=
            (ssize_t)(n * sizeof entry[0]))
            return false;
        for (size_t i = 0; i < n; i++)
            if (!(entry[i] & HL_PAGEMAP_PRESENT))
                return false;
        page += n;
    }
    return fd >= 0;
}
