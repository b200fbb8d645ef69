/* Pipes, pairs of sockets and counters, which lead a program to itself. */
#include "linux_more_bed.h"

static void a_pipe_carries_bytes(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, NONBLOCK);

    CHECK(CALL(p, FCNTL, e.in, 3) == NONBLOCK);
    CHECK(CALL(p, FCNTL, e.out, 3) == (NONBLOCK | 1));
    CHECK(CALL(p, READ, e.in, DATA, 9) == -EAGAIN);
    CHECK(send_text(p, e.out, "hel") == 3 && send_text(p, e.out, "lo") == 2);
    CHECK(CALL(p, READ, e.in, DATA, 1) == 1 && *at(p, DATA) == 'h');
    CHECK(CALL(p, READ, e.in, CODE, 4) == -EFAULT); /* and nothing is lost */
    CHECK(reads(p, e.in, "ello"));
    CHECK(CALL(p, WRITE, e.out, KERNEL, 4) == -EFAULT);
    CHECK(CALL(p, WRITE, e.out, EDGE - 1, 2) == -EFAULT);
    CHECK(CALL(p, READ, e.in, DATA, 1) == -EAGAIN);
    CHECK(CALL(p, READ, e.out, DATA, 1) == -EBADF);
    CHECK(CALL(p, WRITE, e.in, DATA, 1) == -EBADF);
    CHECK(CALL(p, LSEEK, e.in, 0, 0) == -ESPIPE);
    CHECK(CALL(p, FSTAT, e.in, DATA) == 0);
    CHECK((word32(p, DATA + 24) & 0170000) == 0010000);
    check_nothing_left(p);
    end(p);
}

static void a_pipe_ends(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, 0);

    CHECK(send_text(p, e.out, "x") == 1);
    CHECK(CALL(p, DUP, e.out) == 5 && CALL(p, CLOSE, e.out) == 0);
    CHECK(polled(p, e.in, IN) == IN);
    CHECK(CALL(p, CLOSE, 5) == 0 && polled(p, e.in, IN) == (IN | HUP));
    CHECK(reads(p, e.in, "x") && reads(p, e.in, ""));
    CHECK(polled(p, e.in, IN) == HUP);
    e = new_pipe(p, 0);
    CHECK(send_text(p, e.out, "x") == 1 && CALL(p, CLOSE, e.in) == 0);
    CHECK(polled(p, e.out, OUT) == (OUT | ERR));
    handle(p, 13, 0);
    CHECK(CALL(p, WRITE, e.out, DATA, 0) == 0);
    CHECK(CALL(p, WRITE, e.out, DATA, 1) == 0 && handled(p, 13) == -EPIPE);
    put_words(p, TALKED, 1, 0); /* SIG_IGN */
    CHECK(CALL(p, SIGACTION, 13, TALKED, 0, 8) == 0);
    CHECK(CALL(p, WRITE, e.out, DATA, 1) == -EPIPE);
    put_words(p, TALKED, 0, 0); /* SIG_DFL */
    CHECK(CALL(p, SIGACTION, 13, TALKED, 0, 8) == 0);
    (void)CALL(p, WRITE, e.out, DATA, 1);
    CHECK(p->linux_.end == HL_LINUX_SIGNALLED && p->linux_.number == 13);
    end(p);
}

static void a_pipe_has_room_for_64_kib(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, NONBLOCK);

    for (size_t i = 0; i < 20 * PAGE; i++)
        *at(p, ARENA + i) = (char)(i * 7 + i / 251);
    CHECK(CALL(p, WRITE, e.out, ARENA, 20 * PAGE) == 16 * PAGE);
    CHECK(CALL(p, WRITE, e.out, ARENA, 1) == -EAGAIN);
    CHECK(polled(p, e.out, OUT) == 0);
    CHECK(CALL(p, READ, e.in, DATA, 1000) == 1000);
    CHECK(CALL(p, WRITE, e.out, ARENA, PAGE) == -EAGAIN); /* all, or not */
    CHECK(CALL(p, WRITE, e.out, ARENA + 16 * PAGE, PAGE + 1) == 1000);
    CHECK(CALL(p, READ, e.in, ARENA + 20 * PAGE, 20 * PAGE) == 16 * PAGE);
    CHECK(memcmp(at(p, ARENA + 20 * PAGE), at(p, ARENA + 1000), 16 * PAGE) ==
          0);
    CHECK(polled(p, e.out, OUT) == OUT);
    uint64_t used = 0; /* Q1: no page is kept */
    for (size_t i = 0; i <= FILE_PAGES / 64; i++)
        used |= p->linux_.files.used[i];
    CHECK(used == 0);
    end(p);
}

static void pieces_go_together(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, NONBLOCK);
    const uint64_t out[] = {DATA, 2, KERNEL, 0, DATA + 2, 3};
    const uint64_t bad[] = {DATA, 2, KERNEL, 3};
    const uint64_t in[] = {ARENA, 1, ARENA + 64, 9};

    put(p, DATA, "abcde", 5);
    put(p, DATA + 64, out, sizeof out);
    put(p, DATA + 256, bad, sizeof bad);
    put(p, DATA + 512, in, sizeof in);
    CHECK(CALL(p, WRITEV, e.out, DATA + 256, 2) == -EFAULT);
    CHECK(CALL(p, WRITEV, e.out, DATA + 64, 3) == 5);
    CHECK(CALL(p, READV, e.in, DATA + 512, 2) == 5);
    CHECK(*at(p, ARENA) == 'a' && memcmp(at(p, ARENA + 64), "bcde", 4) == 0);
    CHECK(CALL(p, WRITEV, e.out, DATA + 64, 1025) == -EINVAL);
    CHECK(CALL(p, WRITEV, e.out, DATA + 64, 0) == 0);
    CHECK(CALL(p, WRITEV, 99, DATA + 64, 1) == -EBADF);
    end(p);
}

/* Nobody else can write, so it waits until the caller's time is up. */
static void an_empty_pipe_waits(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, 0);

    CHECK(WAITS(p, READ, e.in, DATA, 1));
    CHECK(again(p, READ) == READ && waits(p));
    CHECK(p->linux_.process->wake_at == HL_LINUX_NEVER);
    CHECK(!p->linux_.listens);
    give_up(p);
    CHECK(CALL(p, WRITE, e.out, ARENA, 16 * PAGE) == 16 * PAGE);
    CHECK(WAITS(p, WRITE, e.out, ARENA, 1));
    give_up(p);
    CHECK(CALL(p, READ, e.in, ARENA, 7) == 7);
    CHECK(CALL(p, WRITE, e.out, ARENA, 2 * PAGE) == 7);
    end(p);
}

static void there_are_only_so_many(void)
{
    struct program *p = begin();

    CHECK(CALL(p, PIPE2, TALKED, HL_O_DIRECT) == -EINVAL);
    CHECK(CALL(p, PIPE2, EDGE - 4, 0) == -EFAULT);
    CHECK(CALL(p, SOCKETPAIR, 1, 1, 0, EDGE) == -EFAULT);
    CHECK(CALL(p, DUP, 1) == 3);
    struct ends e = new_pipe(p, HL_O_CLOEXEC);
    CHECK(e.in == 4 && e.out == 5 && CALL(p, FCNTL, 4, 1) == 1);
    while (CALL(p, PIPE, TALKED) == 0)
        ;
    CHECK(CALL(p, SOCKETPAIR, 1, 1, 0, TALKED) == -EMFILE);
    CHECK(CALL(p, PIPE, TALKED) == -EMFILE);
    CHECK(CALL(p, CLOSE, 4) == 0 && CALL(p, PIPE, TALKED) == -EMFILE);
    check_nothing_left(p);
    end(p);
}

static void sockets_carry_both_ways(void)
{
    struct program *p = begin();
    struct ends e = new_pair(p, 1 | NONBLOCK);

    CHECK(CALL(p, RECVFROM, e.in, DATA, 9, 0) == -EAGAIN);
    CHECK(send_text(p, e.in, "to") == 2 && send_text(p, e.out, "fro") == 3);
    CHECK(polled(p, e.in, IN | OUT | RDHUP) == (IN | OUT));
    CHECK(CALL(p, RECVFROM, e.in, DATA, 2, 2) == 2); /* PEEK */
    CHECK(reads(p, e.in, "fro") && reads(p, e.out, "to"));
    memset(at(p, DATA), 'y', 5);
    CHECK(CALL(p, SENDTO, e.in, DATA, 5, 0) == 5);
    CHECK(CALL(p, SENDTO, e.in, DATA, 5, 1) == -EOPNOTSUPP);
    CHECK(CALL(p, SENDTO, e.in, DATA, 5, 0, DATA, 2) == -EISCONN);
    *at(p, TALKED + 64) = 77;
    CHECK(CALL(p, RECVFROM, e.out, DATA, 9, 0, DATA + 64, TALKED + 64) == 5);
    CHECK(word32(p, TALKED + 64) == 0); /* a nameless sender */
    CHECK(CALL(p, SHUTDOWN, e.in, 1) == 0);
    CHECK(polled(p, e.out, IN | RDHUP) == (IN | RDHUP) && reads(p, e.out, ""));
    CHECK(CALL(p, SENDTO, e.in, DATA, 5, 0x4000) == -EPIPE); /* NOSIGNAL */
    CHECK(send_text(p, e.out, "still") == 5 && reads(p, e.in, "still"));
    CHECK(CALL(p, CLOSE, e.out) == 0);
    CHECK(polled(p, e.in, IN | OUT | RDHUP) == (IN | OUT | HUP | RDHUP));
    CHECK(reads(p, e.in, "") && CALL(p, SHUTDOWN, e.in, 3) == -EINVAL);
    CHECK(CALL(p, SHUTDOWN, 1, 0) == -ENOTSOCK);
    check_nothing_left(p);
    end(p);
}

static void messages_stay_apart(void)
{
    static const uint64_t types[] = {2, 5};
    const uint64_t out[] = {DATA, 2, DATA + 8, 3}, in[] = {ARENA, 4};

    for (size_t i = 0; i < HL_ARRAY_SIZE(types); i++) {
        struct program *p = begin();
        struct ends e = new_pair(p, types[i] | NONBLOCK);
        put(p, DATA, "ab......cde", 11);
        put(p, DATA + 64, out, sizeof out);
        put(p, DATA + 128, in, sizeof in);
        CHECK(CALL(p, WRITEV, e.in, DATA + 64, 2) == 5);
        CHECK(CALL(p, SENDTO, e.in, DATA, 0, 0) == 0);
        CHECK(send_text(p, e.in, "last") == 4);
        CHECK(CALL(p, READ, e.out, CODE, 4) == -EFAULT);
        const uint64_t head[7] = {1, 9, DATA + 128, 1, 1, 9, 0};
        put(p, DATA + 256, head, sizeof head);
        CHECK(CALL(p, RECVMSG, e.out, DATA + 256, 2) == 4); /* PEEK */
        CHECK(word32(p, DATA + 256 + 48) == 0x20);          /* TRUNC */
        CHECK(word(p, DATA + 256 + 40) == 0 && word32(p, DATA + 264) == 0);
        CHECK(memcmp(at(p, ARENA), "abcd", 4) == 0);
        CHECK(CALL(p, RECVFROM, e.out, DATA, 1, 0x20) == 5); /* TRUNC */
        CHECK(CALL(p, RECVFROM, e.out, DATA, 9, 0) == 0);
        CHECK(reads(p, e.out, "last"));
        CHECK(CALL(p, READ, e.out, DATA, 9) == -EAGAIN);
        CHECK(CALL(p, SENDTO, e.in, ARENA, 17 * PAGE, 0) == -EMSGSIZE);
        CHECK(CALL(p, SENDTO, e.in, ARENA, 9 * PAGE, 0) == 9 * PAGE);
        CHECK(CALL(p, SENDTO, e.in, ARENA, 9 * PAGE, 0) == -EAGAIN);
        end(p);
    }
}

static void nothing_is_sent_along(void)
{
    struct program *p = begin();
    struct ends e = new_pair(p, 1);
    const uint64_t pieces[] = {DATA, 4};
    const uint64_t head[7] = {0, 0, DATA + 64, 1, DATA, 16, 0};
    const uint64_t plain[7] = {0, 0, DATA + 64, 1, 0, 0, 0};

    put(p, DATA + 64, pieces, sizeof pieces);
    put(p, DATA + 128, head, sizeof head);
    put(p, DATA + 256, plain, sizeof plain);
    CHECK(CALL(p, SENDMSG, e.in, DATA + 128, 0) == -EOPNOTSUPP);
    CHECK(CALL(p, SENDMSG, e.in, DATA + 256, 0) == 4);
    CHECK(CALL(p, SENDMSG, 1, DATA + 256, 0) == -ENOTSOCK);
    CHECK(CALL(p, RECVMSG, e.out, EDGE - 55, 0) == -EFAULT);
    CHECK(CALL(p, RECVMSG, e.out, DATA + 256, 0) == 4);
    end(p);
}

static void sockets_say_what_they_are(void)
{
    struct program *p = begin();
    struct ends e = new_pair(p, 5);
    const uint32_t size = 110;

    put(p, DATA, &size, 4);
    CHECK(CALL(p, GETSOCKNAME, e.in, DATA + 64, DATA) == 0);
    CHECK(word32(p, DATA) == 2 && *at(p, DATA + 64) == 1);
    put(p, DATA, &size, 4);
    CHECK(CALL(p, GETSOCKOPT, e.in, 1, 3, DATA + 64, DATA) == 0);
    CHECK(word32(p, DATA + 64) == 5 && word32(p, DATA) == 4);
    CHECK(CALL(p, GETSOCKOPT, e.in, 1, 4, DATA + 64, DATA) == 0);
    CHECK(word32(p, DATA + 64) == 0);
    CHECK(CALL(p, GETSOCKOPT, e.in, 1, 99, DATA, DATA) == -ENOPROTOOPT);
    CHECK(CALL(p, GETSOCKOPT, e.in, 6, 1, DATA, DATA) == -EOPNOTSUPP);
    CHECK(CALL(p, SETSOCKOPT, e.in, 1, 2, DATA, 4) == 0);
    CHECK(CALL(p, SETSOCKOPT, e.in, 1, 20, DATA, 16) == -ENOPROTOOPT);
    CHECK(CALL(p, CONNECT, e.in, DATA, 2) == -EISCONN);
    CHECK(CALL(p, BIND, e.in, DATA, 2) == -EINVAL);
    CHECK(CALL(p, ACCEPT, 1, 0, 0) == -ENOTSOCK);
    CHECK(CALL(p, SOCKET, 2, 1, 0) == -EACCES);
    CHECK(CALL(p, SOCKET, 99, 1, 0) == -EAFNOSUPPORT);
    CHECK(p->linux_.refused[SOCKET] == 2);
    CHECK(CALL(p, SOCKETPAIR, 2, 1, 0, DATA) == -EAFNOSUPPORT);
    CHECK(CALL(p, SOCKETPAIR, 1, 3, 0, DATA) == -EINVAL);
    CHECK(CALL(p, SOCKETPAIR, 1, 1, 7, DATA) == -EPROTONOSUPPORT);
    end(p);
}

static void counters_count(void)
{
    struct program *p = begin();
    const uint64_t few = 3, most = UINT64_MAX - 1;

    CHECK(CALL(p, EVENTFD2, 2, NONBLOCK) == 3);
    CHECK(CALL(p, EVENTFD2, 2, 1 | NONBLOCK) == 4); /* SEMAPHORE */
    CHECK(CALL(p, EVENTFD2, 2, 4) == -EINVAL);
    put(p, DATA, &few, 8);
    CHECK(CALL(p, WRITE, 3, DATA, 7) == -EINVAL);
    CHECK(CALL(p, WRITE, 3, DATA, 8) == 8 && polled(p, 3, IN | OUT) == 5);
    CHECK(CALL(p, READ, 3, DATA, 8) == 8 && word(p, DATA) == 5);
    CHECK(CALL(p, READ, 3, DATA, 8) == -EAGAIN && polled(p, 3, IN) == 0);
    put(p, DATA, &most, 8);
    CHECK(CALL(p, WRITE, 3, DATA, 8) == 8 && polled(p, 3, IN | OUT) == IN);
    put(p, DATA, &few, 8);
    CHECK(CALL(p, WRITE, 3, DATA, 8) == -EAGAIN);
    for (int i = 0; i < 2; i++)
        CHECK(CALL(p, READ, 4, DATA, 8) == 8 && word(p, DATA) == 1);
    CHECK(CALL(p, READ, 4, DATA, 8) == -EAGAIN);
    CHECK(CALL(p, EVENTFD2, 0, 0) == 5 && WAITS(p, READ, 5, DATA, 8));
    end(p);
}

static void no_room_is_an_error(void)
{
    struct program *p = begin();
    uint64_t fds[3][2];

    for (size_t i = 0; i < 3; i++) {
        struct ends e = new_pipe(p, NONBLOCK);
        fds[i][0] = e.in;
        fds[i][1] = e.out;
    }
    int64_t done = 0;
    for (size_t i = 0; i < 3; i++)
        done = CALL(p, WRITE, fds[i][1], ARENA, 16 * PAGE);
    CHECK(done == -ENOMEM); /* there are 40 pages */
    CHECK(CALL(p, READ, fds[0][0], ARENA, 16 * PAGE) == 16 * PAGE);
    CHECK(CALL(p, WRITE, fds[2][1], ARENA, 16 * PAGE) == 16 * PAGE);
    check_nothing_left(p);
    end(p);
}

/* Against bytes in an array, in any order. */
static void random_pieces_arrive_in_order(void)
{
    uint64_t random = 5;

    for (unsigned round = 0; round < FEWER_IF_SLOW(6); round++) {
        struct program *p = begin();
        struct ends e =
            round % 2 ? new_pair(p, 1 | NONBLOCK) : new_pipe(p, NONBLOCK);
        uint64_t sent = 0, got = 0;
        for (int i = 0; i < 2000; i++) {
            uint64_t size = next_random(&random) % (round > 3 ? 90000 : 600);
            bool sends = next_random(&random) % 2;
            for (uint64_t j = 0; sends && j < size; j++)
                *at(p, ARENA + j) = (char)((sent + j) % 251);
            int64_t done = make_call(
                p, sends ? WRITE : READ,
                (const uint64_t[6]){sends ? e.out : e.in, ARENA, size});
            if (done < 0) {
                CHECK(done == -EAGAIN);
                continue;
            }
            for (uint64_t j = 0; !sends && j < (uint64_t)done; j++)
                CHECK(*at(p, ARENA + j) == (char)((got + j) % 251));
            *(sends ? &sent : &got) += (uint64_t)done;
            CHECK(sent - got <= 65536 && got <= sent);
        }
        CHECK(got > 10000);
        end(p);
    }
}

int main(void)
{
    RUN(a_pipe_carries_bytes);
    RUN(a_pipe_ends);
    RUN(a_pipe_has_room_for_64_kib);
    RUN(pieces_go_together);
    RUN(an_empty_pipe_waits);
    RUN(there_are_only_so_many);
    RUN(sockets_carry_both_ways);
    RUN(messages_stay_apart);
    RUN(nothing_is_sent_along);
    RUN(sockets_say_what_they_are);
    RUN(counters_count);
    RUN(no_room_is_an_error);
    RUN(random_pieces_arrive_in_order);
    return 0;
}
