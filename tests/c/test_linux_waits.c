/* Waiting for descriptors. */
#include "linux_more_bed.h"

static void poll_tells_what_would_not_wait(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, 0);
    const uint32_t all[] = {(uint32_t)e.in,
                            IN,
                            (uint32_t)e.out,
                            OUT | IN,
                            UINT32_MAX,
                            IN,
                            99,
                            IN,
                            1,
                            OUT,
                            0,
                            IN | 0x40};

    put(p, DATA, all, sizeof all);
    CHECK(CALL(p, POLL, DATA, 6, UINT32_MAX) == 4);
    CHECK(word32(p, DATA + 4) == IN && word32(p, DATA + 12) >> 16 == OUT);
    CHECK(word32(p, DATA + 20) >> 16 == 0); /* no descriptor */
    CHECK(word32(p, DATA + 28) >> 16 == 0x20);
    CHECK(word32(p, DATA + 36) >> 16 == OUT);
    CHECK(word32(p, DATA + 44) >> 16 == (IN | 0x40)); /* RDNORM */
    CHECK(CALL(p, POLL, DATA, HL_LINUX_FILES + 1, 0) == -EINVAL);
    CHECK(CALL(p, POLL, EDGE - 4, 1, 0) == -EFAULT);
    CHECK(CALL(p, POLL, CODE, 1, 0) == -EFAULT);
    CHECK(CALL(p, POLL, 0, 0, 0) == 0);
    CHECK(WAITS(p, POLL, DATA, 1, UINT32_MAX) && !p->linux_.listens);
    end(p);
}

static void polls_end_in_time(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, 0);
    const uint32_t one[] = {(uint32_t)e.in, IN};
    const uint64_t bit = UINT64_C(1) << e.in;

    put(p, DATA, one, sizeof one);
    put_words(p, DATA + 64, 0, 20 * MS);
    put_words(p, DATA + 128, 0, 20000); /* µs */
    put(p, DATA + 192, &bit, 8);
    CHECK(CALL(p, EPOLL_CREATE, 1) == 5);
    CHECK(control(p, 5, 1, e.in, IN, 0) == 0);
    const struct {
        uint64_t number, args[6];
    } calls[] = {
        {POLL, {DATA, 1, 20}},
        {PPOLL, {DATA, 1, DATA + 64}},
        {SELECT, {4, DATA + 192, 0, 0, DATA + 128}},
        {PSELECT, {4, DATA + 192, 0, 0, DATA + 64}},
        {EPOLL_WAIT, {5, DATA + 256, 1, 20}},
        {EPOLL_PWAIT, {5, DATA + 256, 1, 20}},
        {EPOLL_PWAIT2, {5, DATA + 256, 1, DATA + 64}},
    };
    for (size_t i = 0; i < HL_ARRAY_SIZE(calls); i++) {
        uint64_t began = hl_now();
        put(p, DATA + 192, &bit, 8);
        CHECK(must_wait(p, calls[i].number, calls[i].args));
        CHECK(until_over(p, calls[i].number) == 0);
        CHECK(hl_now() - began >= 20 * MS);
    }
    CHECK(word(p, DATA + 192) == bit); /* of epoll: select had cleared it */
    put_words(p, DATA + 64, 0, 1000000000);
    CHECK(CALL(p, PPOLL, DATA, 1, DATA + 64) == -EINVAL);
    CHECK(CALL(p, PPOLL, DATA, 1, 0, DATA, 4) == -EINVAL);
    CHECK(CALL(p, PSELECT, 4, 0, 0, 0, 0, EDGE - 8) == -EFAULT);
    end(p);
}

static void select_tells_the_same(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, 0);
    const uint64_t in = UINT64_C(1) << e.in | 1, out = UINT64_C(1) << e.out;
    const uint64_t none = 0;

    put_words(p, DATA, in, 0);
    put_words(p, DATA + 16, out | 2, 0);
    put_words(p, DATA + 32, in, 0);
    CHECK(CALL(p, SELECT, 64, DATA, DATA + 16, DATA + 32, 0) == 3);
    CHECK(word(p, DATA) == 1 && word(p, DATA + 16) == (out | 2));
    CHECK(word(p, DATA + 32) == 0);
    CHECK(send_text(p, e.out, "x") == 1);
    memset(at(p, DATA), 0, 64);
    put_words(p, DATA, in, 0);
    CHECK(CALL(p, SELECT, 1024, DATA, 0, 0, 0) == 2 && word(p, DATA) == in);
    put_words(p, DATA, UINT64_C(1) << 40, 0);
    CHECK(CALL(p, SELECT, 64, DATA, 0, 0, 0) == -EBADF);
    CHECK(CALL(p, SELECT, UINT32_MAX, DATA, 0, 0, 0) == -EINVAL);
    CHECK(CALL(p, SELECT, 64, EDGE - 4, 0, 0, 0) == -EFAULT);
    CHECK(CALL(p, CLOSE, e.out) == 0);
    put_words(p, DATA, in, none);
    CHECK(CALL(p, SELECT, 4, DATA, 0, 0, 0) == 2 && word(p, DATA) == in);
    put_words(p, DATA, 0, 2000000); /* not less than a second */
    CHECK(WAITS(p, SELECT, 0, 0, 0, 0, DATA));
    CHECK(p->linux_.process->waits_for == 2000 * MS);
    end(p);
}

static void epoll_watches(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, NONBLOCK);
    uint64_t data;

    strcpy(at(p, DATA), "/f");
    CHECK(CALL(p, EPOLL_CREATE1, HL_O_CLOEXEC) == 5);
    CHECK(CALL(p, EPOLL_CREATE1, 1) == -EINVAL);
    CHECK(CALL(p, EPOLL_CREATE, 0) == -EINVAL);
    CHECK(CALL(p, OPEN, DATA, HL_O_CREAT | RDWR, 0600) == 6);
    CHECK(control(p, 5, 1, 6, IN, 0) == -EPERM);
    CHECK(control(p, 5, 1, 5, IN, 0) == -EINVAL);
    CHECK(control(p, 3, 1, 4, IN, 0) == -EINVAL);
    CHECK(control(p, 5, 1, 77, IN, 0) == -EBADF);
    CHECK(control(p, 5, 9, e.in, IN, 0) == -EINVAL);
    CHECK(control(p, 5, 3, e.in, IN, 0) == -ENOENT);
    CHECK(CALL(p, EPOLL_CTL, 5, 1, e.in, EDGE - 11) == -EFAULT);
    CHECK(control(p, 5, 1, e.in, IN, UINT64_MAX - 7) == 0);
    CHECK(control(p, 5, 1, e.in, IN, 0) == -EEXIST);
    CHECK(reported(p, 5, &data) == 0 && polled(p, 5, IN) == 0);
    CHECK(send_text(p, e.out, "x") == 1);
    for (int i = 0; i < 2; i++) { /* as long as it is so */
        CHECK(reported(p, 5, &data) == IN && data == UINT64_MAX - 7);
        CHECK(polled(p, 5, IN) == IN);
    }
    CHECK(CALL(p, EPOLL_WAIT, 5, CODE, 1, 0) == -EFAULT);
    CHECK(CALL(p, EPOLL_WAIT, 5, DATA, 0, 0) == -EINVAL);
    CHECK(CALL(p, EPOLL_WAIT, 3, DATA, 1, 0) == -EINVAL);
    CHECK(control(p, 5, 3, e.in, OUT, 1) == 0 && reported(p, 5, &data) == 0);
    CHECK(CALL(p, CLOSE, e.out) == 0);
    CHECK(reported(p, 5, &data) == HUP && data == 1);
    CHECK(control(p, 5, 2, e.in, 0, 0) == 0 && reported(p, 5, &data) == 0);
    CHECK(CALL(p, READ, 5, DATA, 8) == -EINVAL);
    CHECK(CALL(p, EPOLL_CREATE1, 0) == 4 && control(p, 5, 1, 4, IN, 0) < 0);
    check_nothing_left(p);
    end(p);
}

static void epoll_tells_edges(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, NONBLOCK);
    const uint32_t edges = UINT32_C(1) << 31, once = UINT32_C(1) << 30;
    uint64_t data;

    CHECK(CALL(p, EPOLL_CREATE1, 0) == 5);
    CHECK(control(p, 5, 1, e.in, IN | edges, 1) == 0);
    CHECK(send_text(p, e.out, "ab") == 2);
    CHECK(reported(p, 5, &data) == IN && reported(p, 5, &data) == 0);
    CHECK(CALL(p, READ, e.in, DATA, 1) == 1 && reported(p, 5, &data) == 0);
    CHECK(send_text(p, e.out, "c") == 1 && reported(p, 5, &data) == IN);
    CHECK(CALL(p, READ, e.in, DATA, 9) == 2 && reported(p, 5, &data) == 0);
    CHECK(send_text(p, e.out, "c") == 1 && reported(p, 5, &data) == IN);
    CHECK(control(p, 5, 3, e.in, IN | edges, 2) == 0);
    CHECK(reported(p, 5, &data) == IN && data == 2 && polled(p, 5, IN) == 0);
    CHECK(control(p, 5, 3, e.in, IN | once, 3) == 0);
    CHECK(reported(p, 5, &data) == IN && data == 3);
    CHECK(CALL(p, CLOSE, e.out) == 0 && reported(p, 5, &data) == 0);
    CHECK(control(p, 5, 3, e.in, IN | once, 4) == 0);
    CHECK(reported(p, 5, &data) == (IN | HUP) && data == 4);
    end(p);
}

/* One at a time, everybody has a turn. */
static void epoll_is_fair(void)
{
    struct program *p = begin();
    uint64_t data, seen = 0;

    CHECK(CALL(p, EPOLL_CREATE1, 0) == 3);
    for (uint64_t i = 0; i < 5; i++) {
        struct ends e = new_pipe(p, 0);
        CHECK(send_text(p, e.out, "x") == 1);
        CHECK(control(p, 3, 1, e.in, IN, i) == 0);
    }
    for (int i = 0; i < 5; i++) {
        CHECK(reported(p, 3, &data) == IN && data < 5);
        seen |= UINT64_C(1) << data;
    }
    CHECK(seen == 31 && CALL(p, EPOLL_WAIT, 3, DATA, 9, 0) == 5);
    end(p);
}

/* E1 */
static void watches_go_with_what_is_closed(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, 0);
    uint64_t data;

    CHECK(CALL(p, EPOLL_CREATE1, 0) == 5 && CALL(p, DUP, e.in) == 6);
    CHECK(control(p, 5, 1, e.in, IN, 1) == 0);
    CHECK(send_text(p, e.out, "x") == 1 && CALL(p, CLOSE, e.in) == 0);
    CHECK(reported(p, 5, &data) == IN); /* it is open yet */
    CHECK(CALL(p, CLOSE, 6) == 0 && reported(p, 5, &data) == 0);
    CHECK(p->linux_.process->watches[0].set == 0);
    e = new_pipe(p, 0);
    CHECK(control(p, 5, 1, e.in, IN, 1) == 0 && CALL(p, CLOSE, 5) == 0);
    CHECK(p->linux_.process->watches[0].set == 0);
    int64_t sets[4], err = 0;
    for (size_t i = 0; i < HL_ARRAY_SIZE(sets); i++)
        CHECK((sets[i] = CALL(p, EPOLL_CREATE1, 0)) >= 0);
    for (uint64_t i = 0; i < HL_LINUX_WATCHES && err == 0; i++) {
        if (i % 128 == 0)
            for (uint64_t fd = 20; fd < 148; fd++)
                (void)CALL(p, FCNTL, e.in, 0, fd);
        err = control(p, (uint64_t)sets[i / 128], 1, 20 + i % 128, IN, 0);
    }
    CHECK(err == 0);
    CHECK(control(p, (uint64_t)sets[0], 1, e.in, IN, 0) == -ENOSPC);
    check_nothing_left(p);
    end(p);
}

/* What a runner of a program needs to know. */
static void waiting_for_the_host_is_told(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, 0);
    const uint64_t sets[] = {1 << 5};
    uint32_t two[] = {(uint32_t)e.in, IN, 5, IN};

    strcpy(at(p, DATA), "/dev/hyperlight");
    CHECK(CALL(p, OPEN, DATA, RDWR) == 5 && CALL(p, EPOLL_CREATE1, 0) == 6);
    put(p, DATA, two, sizeof two);
    put(p, DATA + 64, sets, sizeof sets);
    CHECK(WAITS(p, POLL, DATA, 2, UINT32_MAX) && p->linux_.listens);
    CHECK(p->linux_.process->wake_at == HL_LINUX_NEVER);
    give_up(p);
    CHECK(WAITS(p, SELECT, 6, DATA + 64, 0, 0, 0) && p->linux_.listens);
    give_up(p);
    CHECK(control(p, 6, 1, 5, IN, 9) == 0);
    CHECK(WAITS(p, EPOLL_WAIT, 6, DATA + 128, 1, UINT32_MAX));
    CHECK(p->linux_.listens);
    hl_linux_request(&p->linux_, "hello", 5);
    hl_abi_linux.begin(&p->linux_.head, &p->regs);
    CHECK(again(p, EPOLL_WAIT) == 1 && word32(p, DATA + 128) == IN);
    CHECK(CALL(p, READ, 5, DATA, 9) == 5);
    CHECK(control(p, 6, 3, 5, OUT, 9) == 0); /* to be asked is not enough */
    CHECK(CALL(p, EPOLL_WAIT, 6, DATA, 1, UINT32_MAX) == 1);
    end(p);
}

int main(void)
{
    RUN(poll_tells_what_would_not_wait);
    RUN(polls_end_in_time);
    RUN(select_tells_the_same);
    RUN(epoll_watches);
    RUN(epoll_tells_edges);
    RUN(epoll_is_fair);
    RUN(watches_go_with_what_is_closed);
    RUN(waiting_for_the_host_is_told);
    return 0;
}
