/* A child process whose system calls of some kinds this process answers, in
 * the kernel's place: seccomp user notification.  Needs no privileges.
 *
 * Those kinds are the opening of a file and ioctls of one type.  The child
 * stands still meanwhile; its memory is read and written from outside.  46 us
 * a call. */
#ifndef HL_TESTS_NOTIFY_H
#define HL_TESTS_NOTIFY_H

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define NOTIFY_SECONDS 30 /* until a child that hangs is ended */

struct notified {
    pid_t pid;
    int listener;
    uint64_t id; /* of the call that is being answered */
    struct seccomp_data call;
};

/* What the call returns, or -errno, or that the kernel is to make it. */
#define NOTIFY_CONTINUE INT64_MIN
typedef int64_t notify_answer(const struct notified *child);

static inline bool notify_read(const struct notified *child, uint64_t from,
                               void *to, size_t size)
{
    struct iovec here = {to, size}, there = {(void *)(uintptr_t)from, size};
    return process_vm_readv(child->pid, &here, 1, &there, 1, 0) ==
           (ssize_t)size;
}

static inline bool notify_write(const struct notified *child, uint64_t to,
                                const void *from, size_t size)
{
    struct iovec here = {(void *)(uintptr_t)from, size};
    struct iovec there = {(void *)(uintptr_t)to, size};
    return process_vm_writev(child->pid, &here, 1, &there, 1, 0) ==
           (ssize_t)size;
}

/* A new descriptor of the child's: its number there.  It is of an empty file
 * in memory, whose name says what it stands for. */
static inline int notify_give(const struct notified *child, const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    CHECK(fd >= 0);
    struct seccomp_notif_addfd add = {
        .id = child->id,
        .srcfd = (uint32_t)fd,
        .newfd_flags = O_CLOEXEC,
    };
    int given = ioctl(child->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
    CHECK(given >= 0);
    close(fd);
    return given;
}

/* Whether that descriptor of the child's was given by that name. */
static inline bool notify_is(const struct notified *child, uint64_t fd,
                             const char *name)
{
    char path[64], at[64] = "", given[64];

    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)child->pid, (int)fd);
    snprintf(given, sizeof given, "/memfd:%s (deleted)", name);
    return readlink(path, at, sizeof at - 1) > 0 && strcmp(at, given) == 0;
}

/* The listener, or -errno. */
static inline int notify_filter(uint8_t type)
{
#define LOAD(field)                                                           \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
    struct sock_filter lines[] = {
        LOAD(arch),
        IF(AUDIT_ARCH_X86_64, 0, 7),
        LOAD(nr),
        IF(__NR_open, 6, 0),
        IF(__NR_openat, 5, 0),
        IF(__NR_ioctl, 0, 3),
        LOAD(args[1]), /* its lower half */
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff00),
        IF((uint32_t)type << 8, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
#undef LOAD
#undef IF
    struct sock_fprog program = {sizeof lines / sizeof lines[0], lines};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                      SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    return fd < 0 ? -errno : (int)fd;
}

/* A number, and a descriptor beside it unless it is negative. */
union notify_room {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static inline void notify_send(int socket, int fd)
{
    union notify_room room = {.bytes = {0}};
    struct iovec body = {&fd, sizeof fd};
    struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1};

    if (fd >= 0) {
        message.msg_control = room.bytes;
        message.msg_controllen = sizeof room.bytes;
        struct cmsghdr *part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(part), &fd, sizeof fd);
    }
    CHECK(sendmsg(socket, &message, 0) == sizeof fd);
}

static inline int notify_receive(int socket)
{
    union notify_room room = {.bytes = {0}};
    int fd = -EIO;
    struct iovec body = {&fd, sizeof fd};
    struct msghdr message = {.msg_iov = &body,
                             .msg_iovlen = 1,
                             .msg_control = room.bytes,
                             .msg_controllen = sizeof room.bytes};

    CHECK(recvmsg(socket, &message, MSG_CMSG_CLOEXEC) == sizeof fd);
    struct cmsghdr *part = CMSG_FIRSTHDR(&message);
    if (fd < 0)
        return fd;
    CHECK(part && part->cmsg_type == SCM_RIGHTS);
    memcpy(&fd, CMSG_DATA(part), sizeof fd);
    return fd;
}

/* The child: ends with the process that answers, and after that time. */
static inline void notify_child(int socket, uint8_t type, void (*body)(void))
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    alarm(NOTIFY_SECONDS);
    int listener = notify_filter(type);
    notify_send(socket, listener);
    close(listener);
    char go;
    if (read(socket, &go, 1) == 1) {
        close(socket);
        body();
        exit(0); /* and sanitizers look for leaks */
    }
    _exit(0);
}

/* One call, if there is one within a tenth of a second. */
static inline void notify_serve(struct notified *child, notify_answer *answer)
{
    struct pollfd wait = {.fd = child->listener, .events = POLLIN};
    /* Newer kernels may have longer structures. */
    union {
        struct seccomp_notif is;
        char room[256];
    } call = {.room = {0}};
    union {
        struct seccomp_notif_resp is;
        char room[256];
    } back = {.room = {0}};

    if (poll(&wait, 1, 100) <= 0 || !(wait.revents & POLLIN) ||
        ioctl(child->listener, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
        return;
    child->id = call.is.id;
    child->call = call.is.data;
    int64_t result = answer(child);
    back.is.id = call.is.id;
    if (result == NOTIFY_CONTINUE)
        back.is.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    else if (result < 0)
        back.is.error = (int)result;
    else
        back.is.val = result;
    (void)ioctl(child->listener, SECCOMP_IOCTL_NOTIF_SEND, &back);
}

/* Descriptors can be given since Linux 5.9.  No call is to be answered yet. */
static inline int notify_probe(const struct notified *child)
{
    struct seccomp_notif_addfd none = {.srcfd = (uint32_t)child->listener};
    uint64_t word;

    if (ioctl(child->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &none) < 0 &&
        errno != ENOENT)
        return -errno;
    /* The child has this one where it was before the fork. */
    if (!notify_read(child, (uintptr_t)child, &word, sizeof word))
        return -errno;
    return 0;
}

/* Run body in a child, whose opens and ioctls of that type are answered, and
 * return its status of waitpid; -errno: it cannot be had here. */
static inline int notify_run(uint8_t type, void (*body)(void),
                             notify_answer *answer)
{
    struct notified child = {0};
    int sockets[2], status = 0;

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0);
    fflush(NULL);
    child.pid = fork();
    CHECK(child.pid >= 0);
    if (child.pid == 0) {
        close(sockets[0]);
        notify_child(sockets[1], type, body);
    }
    close(sockets[1]);
    int err = child.listener = notify_receive(sockets[0]);
    if (err >= 0)
        err = notify_probe(&child);
    if (err == 0)
        CHECK(write(sockets[0], "", 1) == 1);
    close(sockets[0]);
    pid_t ended = 0;
    while ((ended = waitpid(child.pid, &status, WNOHANG)) == 0)
        if (err == 0)
            notify_serve(&child, answer);
    CHECK(ended == child.pid);
    if (child.listener >= 0)
        close(child.listener);
    return err < 0 ? err : status;
}

#endif
