/* Waiting for times and for signals. */
#include "abi/linux/given.h"
#include "linux_more_bed.h"

static void a_timer_ends_what_waits(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, 0);
    const uint64_t once[] = {0, 0, 0, 900000}, off[4] = {0};

    handle(p, 14, 0);
    CHECK(CALL(p, ALARM, 7) == 0 && CALL(p, ALARM, 0) == 7);
    CHECK(CALL(p, ALARM, 0) == 0);
    put(p, DATA, once, sizeof once);
    CHECK(CALL(p, SETITIMER, 0, DATA, DATA + 64) == 0);
    CHECK(word(p, DATA + 88) == 0 && CALL(p, GETITIMER, 0, DATA + 64) == 0);
    CHECK(word(p, DATA + 88) > 0 && word(p, DATA + 88) <= 900000);
    uint64_t began = hl_now();
    (void)CALL(p, READ, e.in, DATA, 1);
    while (waits(p))
        (void)again(p, READ);
    CHECK(hl_now() - began < 60000 * MS && handled(p, 14) == -EINTR);
    CHECK(CALL(p, GETITIMER, 0, DATA + 64) == 0 && word(p, DATA + 88) == 0);
    CHECK(CALL(p, SETITIMER, 1, DATA, 0) == -EINVAL);
    CHECK(CALL(p, GETITIMER, 2, DATA) == -EINVAL);
    put_words(p, DATA + 16, 0, 1000000);
    CHECK(CALL(p, SETITIMER, 0, DATA, 0) == -EINVAL);
    put(p, DATA, off, sizeof off);
    CHECK(CALL(p, SETITIMER, 0, DATA, 0) == 0);
    end(p);
}

/* The host is asked in any case: the signal comes after its answer. */
static void a_timer_does_not_end_what_asks(void)
{
    struct program *p = begin();
    const struct hl_linux_given file = {
        .name = "later",
        .name_size = 5,
        .kind = HL_TREE_FILE,
        .mode = 0644,
        .size = 5,
        .source = 7,
    };
    const uint64_t once[] = {0, 0, 0, 1};
    uint32_t node;

    CHECK(hl_linux_give(&p->linux_, HL_TREE_ROOT, &file, &node) == 0);
    handle(p, 14, 0);
    put(p, DATA, once, sizeof once);
    CHECK(CALL(p, SETITIMER, 0, DATA, 0) == 0);
    uint64_t until = hl_now() + MS;
    while (hl_now() < until)
        ;
    CHECK(by_name(p, OPEN, "/later", 0, 0) == OPEN && waits(p));
    CHECK(p->linux_.ask.node == node && p->regs.rip == CODE);
    CHECK(hl_linux_give_bytes(&p->linux_, node, "bytes", 5) == 0);
    hl_linux_answer(&p->linux_, 0, false);
    (void)again(p, OPEN);
    CHECK(handled(p, 14) == 3 && p->linux_.ask.node == 0);
    end(p);
}

static void a_sleep_tells_what_is_left(void)
{
    struct program *p = begin();
    const uint64_t once[] = {0, 0, 0, 10000};

    handle(p, 14, 0);
    put(p, DATA, once, sizeof once);
    put_words(p, DATA + 64, 500, 0);
    CHECK(CALL(p, SETITIMER, 0, DATA, 0) == 0);
    (void)CALL(p, NANOSLEEP, DATA + 64, DATA + 128);
    while (waits(p))
        (void)again(p, NANOSLEEP);
    CHECK(handled(p, 14) == -EINTR);
    CHECK(word(p, DATA + 128) < 500 && word(p, DATA + 128) > 400);
    put_words(p, TALKED, 1, 0); /* SIG_IGN: nothing ends it */
    CHECK(CALL(p, SIGACTION, 14, TALKED, 0, 8) == 0);
    put_words(p, DATA + 64, 0, 40 * MS);
    CHECK(CALL(p, SETITIMER, 0, DATA, 0) == 0);
    CHECK(WAITS(p, NANOSLEEP, DATA + 64, 0));
    CHECK(until_over(p, NANOSLEEP) == 0);
    end(p);
}

/* In frozen time, in which nothing comes too late. */
static void a_timer_repeats(void)
{
    struct program *p = begin();
    const uint64_t each[] = {0, 3000, 0, 5000}, start = 1000000 * 1000 * MS;

    hl_linux_freeze_time(&p->linux_, start);
    handle(p, 14, 0);
    put(p, DATA, each, sizeof each);
    put_words(p, DATA + 64, 5, 0);
    CHECK(CALL(p, SETITIMER, 0, DATA, 0) == 0);
    for (uint64_t i = 0; i < 3; i++) {
        CHECK(WAITS(p, NANOSLEEP, DATA + 64, 0));
        while (waits(p))
            (void)again(p, NANOSLEEP);
        CHECK(handled(p, 14) == -EINTR);
        CHECK(p->linux_.process->frozen == start + (5 + 3 * i) * MS);
    }
    end(p);
}

static void reading_goes_on_after_a_handler(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, 0);
    const uint64_t once[] = {0, 0, 0, 1};

    handle(p, 14, 0x10000000); /* SA_RESTART */
    put(p, DATA, once, sizeof once);
    p->regs.rip = CODE + 2;
    CHECK(CALL(p, SETITIMER, 0, DATA, 0) == 0);
    (void)make_call(p, READ, (const uint64_t[6]){e.in, DATA, 1});
    while (waits(p))
        (void)again(p, READ);
    CHECK(handled(p, 14) == READ && p->regs.rip == CODE);
    CHECK(p->regs.gpr[HL_RDI] == e.in);
    p->regs.rip = CODE + 2;
    put(p, DATA, once, sizeof once);
    CHECK(CALL(p, SETITIMER, 0, DATA, 0) == 0);
    (void)make_call(p, PAUSE, (const uint64_t[6]){0});
    while (waits(p))
        (void)again(p, PAUSE);
    CHECK(handled(p, 14) == -EINTR && p->regs.rip == CODE + 2);
    end(p);
}

/* To the nanosecond: nothing of the host's clock shows. */
static void frozen_time_goes_on_by_what_is_waited(void)
{
    struct program *p = begin();
    struct hl_linux_process *k = p->linux_.process;
    const uint64_t once[] = {0, 0, 0, 5000}, start = 1000000 * 1000 * MS;

    hl_linux_freeze_time(&p->linux_, start);
    handle(p, 14, 0);
    put(p, DATA, once, sizeof once);
    put_words(p, DATA + 64, 0, 30 * MS);
    CHECK(CALL(p, SETITIMER, 0, DATA, 0) == 0);
    uint64_t until = hl_now() + 8 * MS;
    while (hl_now() < until)
        CHECK(CALL(p, GETITIMER, 0, DATA + 128) == 0);
    CHECK(word(p, DATA + 152) == 5000); /* none of it has passed */
    CHECK(WAITS(p, NANOSLEEP, DATA + 64, DATA + 96));
    /* Unless the test was held up until then. */
    uint64_t wakes = hl_linux_wakes_at(&p->linux_, k->alarm_at);
    CHECK(wakes <= k->waits_from + 5 * MS || wakes <= hl_now());
    while (waits(p))
        (void)again(p, NANOSLEEP);
    CHECK(handled(p, 14) == -EINTR && k->frozen == start + 5 * MS);
    CHECK(word(p, DATA + 96) == 0 && word(p, DATA + 104) == 25 * MS);
    CHECK(CALL(p, SETITIMER, 0, DATA, 0) == 0);
    put_words(p, TALKED, 1, 0); /* SIG_IGN */
    CHECK(CALL(p, SIGACTION, 14, TALKED, 0, 8) == 0);
    CHECK(WAITS(p, NANOSLEEP, DATA + 64, 0));
    CHECK(until_over(p, NANOSLEEP) == 0 && k->frozen == start + 35 * MS);
    CHECK(CALL(p, POLL, 0, 0, 10) == POLL && until_over(p, POLL) == 0);
    CHECK(k->frozen == start + 45 * MS);
    CHECK(k->alarm_at == 0 && k->waits_from == 0);
    CHECK(CALL(p, SETITIMER, 0, DATA, 0) == 0);
    put_words(p, DATA + 64, 0,
              4 * MS); /* less than the timer's, served late */
    CHECK(WAITS(p, NANOSLEEP, DATA + 64, 0));
    until = hl_now() + 8 * MS;
    while (hl_now() < until)
        ;
    CHECK(until_over(p, NANOSLEEP) == 0 && k->frozen == start + 49 * MS);
    CHECK(k->alarm_at != 0);
    end(p);
}

static void signals_are_waited_for(void)
{
    struct program *p = begin();
    struct hl_linux_process *k = p->linux_.process;
    const uint64_t usr1 = 1 << 9, usr2 = 1 << 11, none = 0;

    handle(p, 10, 0);
    put(p, DATA, &usr1, 8);
    put(p, DATA + 8, &none, 8);
    put(p, DATA + 16, &usr2, 8);
    CHECK(CALL(p, SIGPROCMASK, 2, DATA, 0, 8) == 0);
    CHECK(CALL(p, KILL, 2, 10) == 0 && k->pending == usr1);
    CHECK(CALL(p, SIGSUSPEND, DATA, 4) == -EINVAL);
    (void)CALL(p, SIGSUSPEND, DATA + 8, 8);
    CHECK(handled(p, 10) == -EINTR && k->mask == usr1 && !waits(p));
    CHECK(WAITS(p, SIGSUSPEND, DATA + 8, 8) && k->mask == 0);
    (void)again(p, SIGSUSPEND);
    CHECK(k->keeps_mask && k->kept_mask == usr1);
    give_up(p);
    k->mask = usr1;
    CHECK(CALL(p, KILL, 2, 10) == 0);
    CHECK(CALL(p, SIGTIMEDWAIT, DATA, DATA + 64, 0, 8) == 10);
    CHECK(word32(p, DATA + 64) == 10 && k->pending == 0);
    put_words(p, DATA + 128, 0, 10 * MS);
    CHECK(WAITS(p, SIGTIMEDWAIT, DATA, 0, DATA + 128, 8));
    CHECK(until_over(p, SIGTIMEDWAIT) == -EAGAIN);
    CHECK(CALL(p, SIGTIMEDWAIT, DATA, 0, 0, 4) == -EINVAL);
    CHECK(CALL(p, KILL, 2, 10) == 0); /* pending, blocked */
    CHECK(CALL(p, PPOLL, 0, 0, 0, DATA + 8, 8) == 0);
    CHECK(handled(p, 10) == -EINTR && k->mask == usr1);
    put_words(p, DATA + 128, 0, 0);
    p->regs.rip = CODE;
    CHECK(CALL(p, KILL, 2, 10) == 0); /* it has its result: it comes later */
    CHECK(CALL(p, PPOLL, 0, 0, DATA + 128, DATA + 8, 8) == 0);
    CHECK(p->regs.rip == CODE && k->pending == usr1);
    CHECK(CALL(p, PPOLL, 0, 0, DATA + 128, DATA + 16, 8) == 0);
    CHECK(k->mask == usr1 && !k->keeps_mask); /* put back at its end */
    end(p);
}

int main(void)
{
    RUN(a_timer_ends_what_waits);
    RUN(a_timer_does_not_end_what_asks);
    RUN(a_sleep_tells_what_is_left);
    RUN(a_timer_repeats);
    RUN(reading_goes_on_after_a_handler);
    RUN(frozen_time_goes_on_by_what_is_waited);
    RUN(signals_are_waited_for);
    return 0;
}
