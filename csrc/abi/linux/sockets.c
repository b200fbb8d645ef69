#include "abi/linux/sockets.h"

#include "abi/linux/descriptors.h"
#include "abi/linux/files.h"
#include "abi/linux/ids.h"
#include "abi/linux/queues.h"

#define AF_UNIX_ 1
#define AF_MAX_ 46
#define TYPE 0xfu
#define RDWR 2u
#define MOST_BYTES UINT64_C(0x7ffff000)

#define MSG_OOB_ 1u

#define SOL_SOCKET_ 1

struct message { /* struct user_msghdr */
    uint64_t name;
    uint32_t name_size, pad;
    uint64_t pieces, count;
    uint64_t control, control_size;
    uint32_t flags, pad2;
};
_Static_assert(sizeof(struct message) == 56, "linux/socket.h");

/* -EBADF, -ENOTSOCK. */
static int find(const struct hl_linux *l, uint64_t fd,
                struct hl_linux_open **out)
{
    *out = hl_linux_opened(l, fd);
    if (*out == NULL)
        return -EBADF;
    return (*out)->kind == HL_LINUX_SOCKET ? 0 : -ENOTSOCK;
}

/* EACCES is what socket(2) names where none of that kind may be made: to
 * Python a PermissionError.  EAFNOSUPPORT would look like a machine without
 * IPv6, after which some try IPv4. */
int64_t hl_linux_socket(struct hl_linux *l, const uint64_t *args)
{
    uint32_t family = (uint32_t)args[0];

    l->refused[41]++;
    return family > 0 && family < AF_MAX_ ? -EACCES : -EAFNOSUPPORT;
}

static int check_pair(const uint64_t *args)
{
    uint32_t type = (uint32_t)args[1] & TYPE;

    if ((uint32_t)args[0] != AF_UNIX_)
        return -EAFNOSUPPORT;
    if ((uint32_t)args[1] & ~(TYPE | HL_O_CLOEXEC | HL_O_NONBLOCK))
        return -EINVAL;
    if (type != HL_SOCK_STREAM && type != HL_SOCK_DGRAM &&
        type != HL_SOCK_SEQPACKET)
        return -EINVAL;
    return (uint32_t)args[2] > AF_UNIX_ ? -EPROTONOSUPPORT : 0;
}

/* One end; without it the queues have one use less. */
static int64_t open_end(struct hl_linux *l, uint64_t type, uint32_t in,
                        uint32_t out)
{
    struct hl_linux_open *o;
    uint64_t flags = (type & (HL_O_CLOEXEC | HL_O_NONBLOCK)) | RDWR;
    int64_t fd = hl_linux_open(l, HL_LINUX_SOCKET, flags, &o);

    if (fd < 0) {
        hl_queue_drop(l, in);
        hl_queue_drop(l, out);
        return fd;
    }
    o->node = in;
    o->offset = out;
    return fd;
}

int64_t hl_linux_socketpair(struct hl_linux *l, const uint64_t *args)
{
    uint32_t one, other, type = (uint32_t)args[1];

    int err = check_pair(args);
    if (err == 0)
        err = hl_queue_new(l, type & TYPE, &one);
    if (err < 0)
        return err;
    err = hl_queue_new(l, type & TYPE, &other);
    if (err < 0) {
        hl_queue_drop(l, one);
        hl_queue_drop(l, one);
        return err;
    }
    const int64_t a = open_end(l, type, one, other);
    const int64_t b = open_end(l, type, other, one);
    const int32_t both[] = {(int32_t)a, (int32_t)b};
    if (a >= 0 && b >= 0 && hl_linux_put(l, args[3], both, sizeof both) == 0)
        return 0;
    if (a >= 0)
        hl_linux_unopen(l, a);
    if (b >= 0)
        hl_linux_unopen(l, b);
    return a < 0 || b < 0 ? -EMFILE : -EFAULT;
}

static unsigned flags_for(const struct hl_linux_open *o, uint64_t flags)
{
    return (unsigned)flags | (o->flags & HL_O_NONBLOCK ? HL_MSG_DONTWAIT : 0);
}

static struct hl_linux_piece one_piece(const uint64_t *args)
{
    return (struct hl_linux_piece){args[1], args[2] < MOST_BYTES ? args[2]
                                                                 : MOST_BYTES};
}

static int64_t send(struct hl_linux *l, struct hl_linux_open *o,
                    const struct hl_linux_piece *pieces, size_t count,
                    uint64_t flags)
{
    if (flags & MSG_OOB_)
        return -EOPNOTSUPP;
    return hl_queue_send(l, o->offset, pieces, count, flags_for(o, flags));
}

int64_t hl_linux_sendto(struct hl_linux *l, const uint64_t *args)
{
    const struct hl_linux_piece piece = one_piece(args);
    struct hl_linux_open *o;

    int err = find(l, args[0], &o);
    if (err < 0)
        return err;
    if (args[4])
        return -EISCONN;
    return send(l, o, &piece, 1, args[3]);
}

int64_t hl_linux_recvfrom(struct hl_linux *l, const uint64_t *args)
{
    const struct hl_linux_piece piece = one_piece(args);
    const uint32_t nameless = 0;
    struct hl_linux_open *o;
    bool cut;

    int err = find(l, args[0], &o);
    if (err < 0)
        return err;
    if (args[3] & MSG_OOB_)
        return -EOPNOTSUPP;
    if (args[4] && args[5] &&
        hl_window_write(&l->window, args[5], sizeof nameless) == NULL)
        return -EFAULT;
    int64_t done =
        hl_queue_receive(l, o->node, &piece, 1, flags_for(o, args[3]), &cut);
    if (done >= 0 && args[4] && args[5] &&
        hl_linux_put(l, args[5], &nameless, sizeof nameless) < 0)
        return -EFAULT;
    return done;
}

static int64_t get_message(const struct hl_linux *l, const uint64_t *args,
                           struct hl_linux_open **o, struct message *m,
                           struct hl_linux_piece *pieces)
{
    int err = find(l, args[0], o);
    if (err == 0)
        err = hl_linux_get(l, args[1], m, sizeof *m);
    if (err < 0)
        return err;
    if (args[2] & MSG_OOB_)
        return -EOPNOTSUPP;
    if (m->count > HL_LINUX_PIECES)
        return -EMSGSIZE;
    return hl_linux_get_pieces(l, m->pieces, m->count, pieces);
}

/* Descriptors are not sent: there is nobody to send them to. */
int64_t hl_linux_sendmsg(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_piece pieces[HL_LINUX_PIECES];
    struct hl_linux_open *o;
    struct message m;
    int64_t count = get_message(l, args, &o, &m, pieces);

    if (count < 0)
        return count;
    if (m.control_size)
        return -EOPNOTSUPP;
    if (m.name && m.name_size)
        return -EISCONN;
    return send(l, o, pieces, (size_t)count, args[2]);
}

int64_t hl_linux_recvmsg(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_piece pieces[HL_LINUX_PIECES];
    struct hl_linux_open *o;
    struct message m;
    int64_t count = get_message(l, args, &o, &m, pieces);
    bool cut;

    if (count < 0)
        return count;
    if (hl_window_write(&l->window, args[1], sizeof m) == NULL)
        return -EFAULT;
    int64_t done = hl_queue_receive(l, o->node, pieces, (size_t)count,
                                    flags_for(o, args[2]), &cut);
    if (done < 0)
        return done;
    m.name_size = 0;
    m.control_size = 0;
    m.flags = cut ? HL_MSG_TRUNC : 0;
    return hl_linux_put(l, args[1], &m, sizeof m) < 0 ? -EFAULT : done;
}

int64_t hl_linux_shutdown(struct hl_linux *l, const uint64_t *args)
{
    uint32_t how = (uint32_t)args[1];
    struct hl_linux_open *o;

    int err = find(l, args[0], &o);
    if (err < 0)
        return err;
    if (how > 2)
        return -EINVAL;
    if (how != 1)
        hl_queue_end_reading(l, o->node);
    if (how != 0)
        hl_queue_end_writing(l, o->offset);
    return 0;
}

/* Of both ends: no name. */
int64_t hl_linux_getsockname(struct hl_linux *l, const uint64_t *args)
{
    const uint16_t family = AF_UNIX_;
    const uint32_t full = sizeof family;
    struct hl_linux_open *o;
    uint32_t size;

    int err = find(l, args[0], &o);
    if (err == 0)
        err = hl_linux_get(l, args[2], &size, sizeof size);
    if (err < 0)
        return err;
    if (size > INT32_MAX)
        return -EINVAL;
    if (size > full)
        size = full;
    if (size > 0 && hl_linux_put(l, args[1], &family, size) < 0)
        return -EFAULT;
    return hl_linux_put(l, args[2], &full, sizeof full);
}

/* SO_*: what it is, or -ENOPROTOOPT. */
static int64_t option(const struct hl_linux *l, const struct hl_linux_open *o,
                      uint64_t name)
{
    switch ((uint32_t)name) {
    case 2:  /* REUSEADDR */
    case 4:  /* ERROR */
    case 9:  /* KEEPALIVE */
    case 30: /* ACCEPTCONN */
    case 38: /* PROTOCOL */
        return 0;
    case 3: /* TYPE */
        return hl_queue(l, o->node)->type;
    case 7: /* SNDBUF */
    case 8: /* RCVBUF */
        return HL_QUEUE_SIZE;
    case 17: /* PEERCRED: a number of a process, of root's */
        return HL_LINUX_PID;
    case 39: /* DOMAIN */
        return AF_UNIX_;
    default:
        return -ENOPROTOOPT;
    }
}

int64_t hl_linux_getsockopt(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_open *o;
    uint32_t size, full = (uint32_t)args[2] == 17 ? 12 : 4;

    int err = find(l, args[0], &o);
    if (err == 0)
        err = hl_linux_get(l, args[4], &size, sizeof size);
    if (err < 0)
        return err;
    if (size > INT32_MAX)
        return -EINVAL;
    if ((uint32_t)args[1] != SOL_SOCKET_)
        return -EOPNOTSUPP;
    const int64_t value = option(l, o, args[2]);
    if (value < 0)
        return value;
    const uint32_t all[3] = {(uint32_t)value};
    if (size > full)
        size = full;
    if (size > 0 && hl_linux_put(l, args[3], all, size) < 0)
        return -EFAULT;
    return hl_linux_put(l, args[4], &size, sizeof size);
}

/* What can be asked for here changes nothing. */
int64_t hl_linux_setsockopt(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_open *o;
    uint32_t value;

    int err = find(l, args[0], &o);
    if (err < 0)
        return err;
    if ((uint32_t)args[1] != SOL_SOCKET_)
        return -EOPNOTSUPP;
    if ((uint32_t)args[4] < sizeof value)
        return -EINVAL;
    if (hl_linux_get(l, args[3], &value, sizeof value) < 0)
        return -EFAULT;
    switch ((uint32_t)args[2]) {
    case 2:
    case 7:
    case 8:
    case 9:
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

int64_t hl_linux_connect(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_open *o;

    int err = find(l, args[0], &o);
    return err < 0 ? err : -EISCONN;
}

/* bind, listen, accept. */
int64_t hl_linux_not_of_a_pair(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_open *o;

    int err = find(l, args[0], &o);
    return err < 0 ? err : -EINVAL;
}
