/* Real descriptors, so that whoever looks at descriptors sees what the kernel
 * would show: event files, which share their inode as the kernel's do.
 *
 * Somebody may close one behind the fake's back (os.closerange), and open
 * something else with its number.  An epoll descriptor tells: it knows files
 * by number and file, and forgets those that are closed. */
#include "fake/mshv/files.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fake/mshv/switches.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fake_file **table; /* by number */
static size_t table_size, in_use;
static int epoll = -1;

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork, after_fork);
}

static bool ask_epoll(int op, int fd)
{
    struct epoll_event event = {.events = 0, .data.fd = fd};

    return epoll_ctl(epoll, op, fd, &event) == 0;
}

static bool is_ours(int fd) { return ask_epoll(EPOLL_CTL_MOD, fd); }

/* One may have been closed by somebody else. */
static int watch(int fd)
{
    if (epoll >= 0 && ask_epoll(EPOLL_CTL_ADD, fd))
        return 0;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        return -errno;
    /* Those that there were are still whose they were. */
    for (size_t i = 0; i < table_size; i++)
        if (table[i])
            (void)ask_epoll(EPOLL_CTL_ADD, (int)i);
    return ask_epoll(EPOLL_CTL_ADD, fd) ? 0 : -errno;
}

static int grow(int fd)
{
    size_t size = (size_t)fd + 64;

    if ((size_t)fd < table_size)
        return 0;
    struct fake_file **bigger = realloc(table, size * sizeof *table);
    if (bigger == NULL)
        return -ENOMEM;
    memset(bigger + table_size, 0, (size - table_size) * sizeof *table);
    table = bigger;
    table_size = size;
    return 0;
}

/* Under the lock.  Returns a partition that is to be destroyed, or NULL. */
static struct fake_partition *let_go(struct fake_file *file)
{
    struct fake_partition *p = file->partition;

    if (--file->users)
        return NULL;
    free(file);
    return p && --p->refs == 0 ? p : NULL;
}

/* Under the lock: its number is free now. */
static struct fake_partition *forget(struct fake_file *file, bool lost)
{
    table[file->fd] = NULL;
    fake_count(FAKE_DESCRIPTORS, -1);
    if (lost && file->partition)
        file->partition->lost = true;
    if (--in_use == 0 && epoll >= 0) {
        if (!lost)
            close(epoll);
        epoll = -1;
    }
    return let_go(file);
}

static void destroy(struct fake_partition *p)
{
    if (p)
        fake_partition_destroy(p);
}

/* Whatever had this number before. */
static void forget_number(int fd)
{
    struct fake_partition *p = NULL;

    pthread_mutex_lock(&lock);
    if ((size_t)fd < table_size && table[fd])
        p = forget(table[fd], true);
    pthread_mutex_unlock(&lock);
    destroy(p);
}

int fake_file_create(enum fake_file_kind kind, struct fake_partition *p,
                     int flags)
{
    struct fake_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return -ENOMEM;
    int fd = eventfd(0, flags & O_CLOEXEC ? EFD_CLOEXEC : 0);
    if (fd < 0) {
        free(file);
        return -errno;
    }
    forget_number(fd);
    *file =
        (struct fake_file){.kind = kind, .fd = fd, .users = 1, .partition = p};
    pthread_mutex_lock(&lock);
    int err = grow(fd);
    if (err == 0)
        err = watch(fd);
    if (err == 0) {
        table[fd] = file;
        in_use++;
        if (p)
            p->refs++;
    }
    pthread_mutex_unlock(&lock);
    if (err < 0) {
        close(fd);
        free(file);
        return err;
    }
    fake_count(FAKE_DESCRIPTORS, 1);
    return fd;
}

struct fake_file *fake_file_take(int fd)
{
    struct fake_file *file = NULL;
    struct fake_partition *p = NULL;

    pthread_mutex_lock(&lock);
    if (fd >= 0 && (size_t)fd < table_size && table[fd]) {
        file = table[fd];
        if (is_ours(fd)) {
            file->users++;
        } else {
            p = forget(file, true);
            file = NULL;
        }
    }
    pthread_mutex_unlock(&lock);
    destroy(p);
    return file;
}

void fake_file_release(struct fake_file *file)
{
    pthread_mutex_lock(&lock);
    struct fake_partition *p = let_go(file);
    pthread_mutex_unlock(&lock);
    destroy(p);
}

bool fake_file_close(int fd)
{
    struct fake_file *file = fake_file_take(fd);

    if (file == NULL)
        return false;
    pthread_mutex_lock(&lock);
    close(fd);
    struct fake_partition *p = table[fd] == file ? forget(file, false) : NULL;
    pthread_mutex_unlock(&lock);
    destroy(p);
    fake_file_release(file);
    return true;
}

void fake_mshv_sweep(void)
{
    for (size_t i = 0; i < table_size; i++) {
        struct fake_file *file = fake_file_take((int)i);
        if (file)
            fake_file_release(file);
    }
}
