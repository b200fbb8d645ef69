/* Messages that a guest leaves, read by the host: hostile bytes, and bytes
 * that change while they are read.
 *
 * Three ways in turn:
 *   plain    a buffer of exactly its size, read twice: the same both times,
 *            and what a plain reading of guest/abi.h says;
 *   stepped  the processor's trap flag stops after every instruction of the
 *            reader, and at one of them the buffer changes: deterministic;
 *   raced    another thread changes it throughout.
 * And the writer: what it wrote is read back, in buffers of every size. */
#include <pthread.h>
#include <stdatomic.h>
#if defined(__x86_64__)
#include <ucontext.h>
#endif

#include "abi/native/call.h"
#include "abi/native/wire.h"
#include "fuzz.h"
#include "wire_inputs.h"

#define MOST 4096

static uint64_t inputs, accepted, values, shaped, changes, written;

/* ---- The reader ---- */

struct seen {
    int opened, closed;
    uint32_t count, kind, result, failed;
    uint64_t sum; /* of types, lengths and places */
};

static bool number_fits(uint64_t type, uint64_t bits)
{
    switch (type) {
    case HL_NONE:
        return bits == 0;
    case HL_I32:
        return (int64_t)bits >= INT32_MIN && (int64_t)bits <= INT32_MAX;
    case HL_U32:
    case HL_F32:
        return bits >> 32 == 0;
    case HL_BOOL:
        return bits < 2;
    default:
        return true;
    }
}

/* Everything that a caller does, with everything checked that a caller relies
 * on, whatever the buffer held at which moment. */
static struct seen read_all(const unsigned char *buffer, size_t size)
{
    struct hl_wire_reader r;
    struct hl_wire_value v;
    struct seen s = {0};
    const char *start = (const char *)buffer, *end = start + size;
    size_t most = size / sizeof(struct hl_value);

    s.opened = hl_wire_open(&r, buffer, size);
    FUZZ_CHECK(s.opened == 0 || s.opened == -EPROTO);
    FUZZ_CHECK(s.opened == 0 ? true : r.wrong != NULL && r.left == 0);
    if (s.opened < 0)
        return s;
    s.kind = r.kind;
    s.result = r.result;
    FUZZ_CHECK(r.kind >= HL_MESSAGE_CALL && r.kind <= HL_MESSAGE_FUNCTIONS);
    FUZZ_CHECK(r.result < HL_TYPES && r.left <= most);
    FUZZ_CHECK(r.at >= start && r.at <= r.end && r.end <= end);
    while (r.left) {
        const char *before = r.at;
        int err = hl_wire_next(&r, &v);
        FUZZ_CHECK(err == 0 || (err == -EPROTO && r.wrong && r.left == 0));
        FUZZ_CHECK(r.at >= before && r.at <= r.end && r.end <= end);
        s.failed = err < 0;
        if (s.failed)
            break;
        s.count++;
        FUZZ_CHECK(s.count <= most);
        FUZZ_CHECK((unsigned)v.type < HL_TYPES);
        FUZZ_CHECK(number_fits((uint64_t)v.type, v.bits));
        if (v.type == HL_STR || v.type == HL_BYTES) {
            FUZZ_CHECK(v.data >= start && v.data <= end);
            FUZZ_CHECK(v.bits <= (uint64_t)(end - v.data));
            s.sum = s.sum * 31 + (uint64_t)(v.data - start);
        }
        s.sum = s.sum * 31 + (uint64_t)v.type * 7 + v.bits;
    }
    s.closed = hl_wire_close(&r);
    FUZZ_CHECK(s.closed == 0 || s.closed == -EPROTO);
    return s;
}

static bool is_text(enum hl_type type)
{
    return type == HL_STR || type == HL_BYTES;
}

/* Whether the n-th value (from 0) of a message of this kind may be of this
 * type: by the letter of guest/abi.h, in another hand. */
static bool belongs(enum hl_message_kind kind, uint32_t n, enum hl_type type,
                    enum hl_type result)
{
    if (kind == HL_MESSAGE_RESULT)
        return n == 0 && type == result;
    if (kind == HL_MESSAGE_ERROR || kind == HL_MESSAGE_LOG)
        return n < 2 && type == (n == 0 ? HL_I32 : HL_STR);
    if (kind == HL_MESSAGE_FUNCTIONS)
        return type == HL_STR && n < 4096;
    return (n > 0 || type == HL_STR) && n < 65;
}

/* The same bytes through a call's reader: what comes has the shape of its
 * kind. */
static void read_call(const unsigned char *buffer, size_t size)
{
    static char input[HL_REPLY_ROOM + 64];
    enum hl_type wanted = (enum hl_type)fuzz_below(HL_TYPES);
    struct hl_wire_value v;
    struct hl_call call;
    uint32_t n = 0;
    int rc;

    hl_call_init(&call, input, sizeof input, buffer, size);
    if (fuzz_below(3))
        rc = hl_call_open(&call, (enum hl_message_kind)(1 + fuzz_below(5)));
    else
        rc = hl_call_open_result(&call, wanted);
    FUZZ_CHECK(rc == 0 || (rc == -EPROTO && call.wrong));
    if (rc < 0)
        return;
    for (; (rc = hl_call_next(&call, &v)) > 0; n++) {
        FUZZ_CHECK(belongs(call.kind, n, v.type, call.result));
        FUZZ_CHECK(number_fits((uint64_t)v.type, v.bits));
        FUZZ_CHECK(
            !is_text(v.type) ||
            (v.data >= (const char *)buffer &&
             v.bits <= (uint64_t)((const char *)buffer + size - v.data)));
    }
    FUZZ_CHECK(rc == 0 || (rc == -EPROTO && call.wrong));
    shaped += rc == 0;
}

static uint64_t get(const unsigned char *at, size_t width)
{
    uint64_t v = 0;
    memcpy(&v, at, width);
    return v;
}

/* The same by the letter of guest/abi.h, in another hand: whether it is a good
 * message, and of how many values. */
static bool good_message(const unsigned char *b, size_t size, uint32_t *count)
{
    if (size < 24 || get(b, 4) != HL_MESSAGE_MAGIC)
        return false;
    uint64_t kind = get(b + 4, 4), length = get(b + 8, 8);
    uint64_t n = get(b + 16, 4), at = 24;
    if (kind < 1 || kind > 5 || get(b + 20, 4) >= HL_TYPES)
        return false;
    if (length > size || length % 8 || length < 24)
        return false;
    *count = (uint32_t)n;
    for (uint64_t i = 0; i < n; i++) {
        if (length - at < 16)
            return false;
        uint64_t type = get(b + at, 4), bits = get(b + at + 8, 8);
        if (type >= HL_TYPES || !number_fits(type, bits))
            return false;
        at += 16;
        if (type != HL_STR && type != HL_BYTES)
            continue;
        if (bits > length - at || (bits + 7) / 8 * 8 > length - at)
            return false;
        at += (bits + 7) / 8 * 8;
    }
    return at == length;
}

static void test_plain(const unsigned char *buffer, size_t size)
{
    uint32_t count = 0;
    struct seen one = read_all(buffer, size), two = read_all(buffer, size);
    bool good = one.opened == 0 && !one.failed && one.closed == 0;

    FUZZ_CHECK(memcmp(&one, &two, sizeof one) == 0);
    FUZZ_CHECK(good == good_message(buffer, size, &count));
    FUZZ_CHECK(!good || one.count == count);
    for (int i = 0; i < 8; i++)
        read_call(buffer, size);
    accepted += good;
    values += one.count;
}

/* ---- Changed meanwhile ---- */

static struct {
    unsigned char *buffer;
    struct change change;
    uint64_t steps, when; /* instructions */
} stepping;

#if defined(__x86_64__)
static void on_step(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info, (void)context;
    if (++stepping.steps == stepping.when)
        memcpy(stepping.buffer + stepping.change.at, &stepping.change.value,
               stepping.change.width);
}

static void step(bool on)
{
    if (on)
        __asm__ volatile("sub $128, %%rsp\n\tpushfq\n\t"
                         "orq $0x100, (%%rsp)\n\tpopfq\n\tadd $128, %%rsp" ::
                             : "memory", "cc");
    else
        __asm__ volatile("sub $128, %%rsp\n\tpushfq\n\t"
                         "andq $~0x100, (%%rsp)\n\tpopfq\n\tadd $128, %%rsp" ::
                             : "memory", "cc");
}

static void test_stepped(unsigned char *buffer, size_t size)
{
    static uint64_t usual = 2000;
    unsigned char was[MOST];

    struct sigaction action = {.sa_sigaction = on_step,
                               .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &action, NULL);
    memcpy(was, buffer, size);
    for (int i = 0; i < 4; i++) {
        stepping.buffer = buffer;
        stepping.change = make_change(size);
        stepping.steps = 0;
        stepping.when = 1 + fuzz_below(usual);
        step(true);
        (void)read_all(buffer, size);
        read_call(buffer, size);
        step(false);
        usual = stepping.steps + 1;
        changes += stepping.steps >= stepping.when;
        memcpy(buffer, was, size);
    }
}
#else
static void test_stepped(unsigned char *buffer, size_t size)
{
    (void)buffer, (void)size;
}
#endif

static struct {
    _Atomic(unsigned char *) buffer; /* NULL: nothing to do */
    _Atomic bool busy, stop;
    struct change change;
    uint64_t old;
} racing;

__attribute__((no_sanitize("thread"))) static void *race(void *unused)
{
    (void)unused;
    while (!atomic_load(&racing.stop)) {
        unsigned char *buffer = atomic_load(&racing.buffer);
        if (!buffer) {
            nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
            continue;
        }
        atomic_store(&racing.busy, true);
        while (atomic_load(&racing.buffer) == buffer) {
            memcpy(buffer + racing.change.at, &racing.change.value,
                   racing.change.width);
            memcpy(buffer + racing.change.at, &racing.old,
                   racing.change.width);
        }
        atomic_store(&racing.busy, false);
    }
    return NULL;
}

static void test_raced(unsigned char *buffer, size_t size)
{
    racing.change = make_change(size);
    racing.old = 0;
    memcpy(&racing.old, buffer + racing.change.at, racing.change.width);
    atomic_store(&racing.buffer, buffer);
    while (!atomic_load(&racing.busy))
        ;
    for (int i = 0; i < 200; i++) {
        (void)read_all(buffer, size);
        read_call(buffer, size);
    }
    atomic_store(&racing.buffer, NULL);
    while (atomic_load(&racing.busy))
        ;
    changes += 200;
}

/* ---- The writer ---- */

static void test_writer(void)
{
    size_t size = fuzz_below(400);
    unsigned char *buffer = malloc(size ? size : 1);
    struct hl_wire_writer w;
    struct {
        enum hl_type type;
        uint64_t bits;
        unsigned char fill;
    } put[8];
    uint32_t n = 0;

    memset(buffer, 0xA5, size);
    fuzz_input(buffer, size);
    hl_wire_begin(&w, buffer, size);
    for (uint64_t i = fuzz_below(8); i > 0; i--) {
        put[n].type = (enum hl_type)fuzz_below(HL_TYPES);
        put[n].fill = (unsigned char)fuzz_next();
        if (put[n].type == HL_STR || put[n].type == HL_BYTES) {
            put[n].bits = fuzz_below(10) ? fuzz_below(80) : fuzz_edge();
            void *room = hl_wire_put_room(&w, put[n].type, put[n].bits);
            if (!room)
                continue;
            memset(room, put[n].fill, put[n].bits);
        } else {
            put[n].bits = fuzz_below(2);
            if (put[n].type == HL_NONE)
                put[n].bits = 0;
            int err = hl_wire_put(&w, put[n].type, put[n].bits);
            FUZZ_CHECK(err == 0 || err == -ENOSPC);
            if (err < 0)
                continue;
        }
        n++;
    }
    ssize_t length = hl_wire_end(&w, HL_MESSAGE_CALL, HL_STR);
    FUZZ_CHECK((length < 0) == (size < sizeof(struct hl_message)));
    if (length >= 0) {
        struct hl_wire_reader r;
        struct hl_wire_value v;
        FUZZ_CHECK((size_t)length <= size);
        for (size_t i = (size_t)length; i < size; i++)
            FUZZ_CHECK(buffer[i] == 0xA5);
        FUZZ_CHECK(hl_wire_open(&r, buffer, size) == 0);
        FUZZ_CHECK(r.left == n && r.result == HL_STR);
        for (uint32_t i = 0; i < n; i++) {
            FUZZ_CHECK(hl_wire_next(&r, &v) == 0);
            FUZZ_CHECK(v.type == put[i].type && v.bits == put[i].bits);
            if (v.type == HL_STR || v.type == HL_BYTES)
                for (uint64_t k = 0; k < v.bits; k++)
                    FUZZ_CHECK((unsigned char)v.data[k] == put[i].fill);
        }
        FUZZ_CHECK(hl_wire_close(&r) == 0);
        written++;
    }
    free(buffer);
}

static void test_one(const unsigned char *bytes, size_t size, uint64_t how)
{
    unsigned char *buffer = malloc(size ? size : 1);
    memcpy(buffer, bytes, size);
    fuzz_input(bytes, size);
    inputs++;
    test_plain(buffer, size);
    if (size >= 8 && how % 256 == 0)
        test_stepped(buffer, size);
    if (size >= 8 && how % 512 == 1)
        test_raced(buffer, size);
    free(buffer);
}

int main(int argc, char **argv)
{
    unsigned char bytes[MOST];
    pthread_t thread;

    fuzz_begin(argc, argv);
    pthread_create(&thread, NULL, race, NULL);
    if (fuzz.replay) {
        size_t size = 0;
        unsigned char *file = fuzz_read_file(fuzz.replay, &size);
        FUZZ_CHECK(file && size <= MOST);
        for (uint64_t how = 0; how < 2000; how++)
            test_one(file, size, how % 2);
        free(file);
    }
    while (!fuzz.replay && fuzz_time_left()) {
        size_t size = fuzz_below(20) ? fuzz_below(40) * 8 : fuzz_below(MOST);
        make_message(bytes, size);
        test_one(bytes, size, fuzz_next());
        test_writer();
    }
    atomic_store(&racing.stop, true);
    pthread_join(thread, NULL);
    printf("wire: seed %llu, %llu inputs, %llu accepted, %llu values, "
           "%llu as calls, %llu changed while read, %llu written\n",
           (unsigned long long)fuzz.seed, (unsigned long long)inputs,
           (unsigned long long)accepted, (unsigned long long)values,
           (unsigned long long)shaped, (unsigned long long)changes,
           (unsigned long long)written);
    return 0;
}
