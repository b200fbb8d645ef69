/* Batches: what batch.h promises.
 *
 * HYPERLIGHT_UNICORN: where the emulator's library is. */
#include <sys/wait.h>
#include <unistd.h>

#include "batch_bed.h"
#include "inject.h"

/* M1 */
static void every_call_begins_at_the_snapshot(void)
{
    const struct hl_batch_result *r;
    enum hl_left left;

    come_up();
    begin(HL_I64, false);
    for (int i = 0; i < 3; i++)
        CHECK(!order_count());
    CHECK(run_all() == 3);
    CHECK(hl_batch_end(&batch) == 0);
    CHECK(counter() == 3);

    begin(HL_I64, true);
    for (int i = 0; i < 3; i++)
        CHECK(!order_count());
    size_t found = 0;
    do {
        CHECK(hl_batch_run(&batch, &stop, &left) == 0);
        while ((r = hl_batch_take(&batch)) != NULL) {
            CHECK(r->kind == HL_MESSAGE_RESULT);
            CHECK(r->values[0].type == HL_I64 && r->values[0].bits == 1);
            found++;
        }
    } while (left == HL_LEFT_KICKED);
    CHECK(found == 3);
    CHECK(counter() == 1); /* nothing was put back in vain */
    CHECK(hl_batch_end(&batch) == 0);
    CHECK(counter() == 0);
    go_down();
}

/* M1: whatever it was that ended. */
static void the_end_puts_it_back(void)
{
    come_up();
    begin(HL_I64, false);
    CHECK(!order_count());
    CHECK(run_all() == 1);
    CHECK(hl_batch_end(&batch) == 0);
    begin(HL_I64, true); /* of nothing */
    CHECK(counter() == 1);
    CHECK(hl_batch_end(&batch) == 0);
    CHECK(counter() == 0);

    begin(HL_I64, true);
    CHECK(!order(HL_LEAVE_LOG, "", 0));
    run_to(HL_LEFT_LOG);
    CHECK(hl_sandbox_is_poisoned(sandbox));
    CHECK(hl_batch_end(&batch) == 0);
    CHECK(!hl_sandbox_is_poisoned(sandbox) && counter() == 0);

    begin(HL_I64, false);
    CHECK(!order_count());
    CHECK(run_all() == 1);
    CHECK(hl_batch_end(&batch) == 0);
    hl_batch_free(&batch);
    hl_inject_plan(HL_INJECT_ROOM, 0, 1);
    CHECK(begin_as(HL_I64, true, false, 0) == -ENOMEM);
    CHECK(counter() == 1);
    CHECK(hl_batch_end(&batch) == 0);
    CHECK(counter() == 0);
    go_down();
}

/* M1: and nobody puts it back who was not told to. */
static void nothing_runs_once_it_is_poisoned(void)
{
    enum hl_left left;
    size_t taken = 0;

    come_up();
    begin(HL_I64, false);
    CHECK(!order(HL_LEAVE_ABORT, "", 0));
    CHECK(!order_count());
    run_to(HL_LEFT_ABORT);
    hl_batch_pass_over(&batch);
    CHECK(run_batch(&left, &taken) == -EBUSY && taken == 0);
    CHECK(counter() == 1);
    CHECK(hl_batch_end(&batch) == 0);
    CHECK(hl_sandbox_is_poisoned(sandbox));

    begin(HL_I64, true);
    CHECK(!order(HL_LEAVE_ABORT, "", 0));
    CHECK(!order_count());
    run_to(HL_LEFT_ABORT);
    hl_batch_pass_over(&batch);
    CHECK(run_all() == 1);
    CHECK(hl_batch_end(&batch) == 0);
    go_down();
}

/* M2: by the caller, as a call that is not of a batch. */
static void what_is_no_result_is_left_to_the_caller(void)
{
    static const struct {
        enum hl_type type;
        uint64_t bits;
        const char *text;
    } wrong[] = {
        {HL_I64, 1, NULL},
        {HL_STR, 2, "\xc3\x28"},
        {HL_STR, BUFFER, NULL},
        {HL_TYPES, 0, NULL},
    };
    struct hl_wire_value v;

    come_up();
    begin(HL_STR, true);
    CHECK(!order_value(0, HL_STR, 3, "one"));
    for (size_t i = 0; i < HL_ARRAY_SIZE(wrong); i++)
        CHECK(!order_value(0, wrong[i].type, wrong[i].bits, wrong[i].text));
    CHECK(!order_value(HL_LEAVE_LOG, HL_STR, 3, "two"));
    CHECK(!order_value(0, HL_STR, 5, "three"));
    for (size_t i = 0; i < HL_ARRAY_SIZE(wrong); i++) {
        run_to(HL_LEFT_READY);
        CHECK(hl_sandbox_is_poisoned(sandbox));
        hl_batch_pass_over(&batch);
    }
    run_to(HL_LEFT_LOG);
    run_until_ready();
    CHECK(hl_call_open_result(messages(), HL_STR) == 0);
    CHECK(hl_call_next(messages(), &v) == 1 && v.bits == 3);
    CHECK(memcmp(v.data, "two", 3) == 0);
    hl_batch_pass_over(&batch);
    CHECK(run_all() == 1);
    CHECK(hl_batch_end(&batch) == 0);
    go_down();
}

/* M2: an error is one only for a batch that goes on. */
static void errors_are_results_of_some(void)
{
    const struct {
        struct hl_message head;
        struct hl_value code, text;
        char word[8];
    } m = {{HL_MESSAGE_MAGIC, HL_MESSAGE_ERROR, sizeof m, 2, 0},
           {HL_I32, 0, 1000},
           {HL_STR, 0, 2},
           "no"};
    const struct hl_batch_result *r;
    enum hl_left left;

    come_up();
    begin(HL_I64, true);
    CHECK(!order(HL_LEAVE_READY, &m, sizeof m));
    run_to(HL_LEFT_READY);
    CHECK(hl_batch_end(&batch) == 0);

    CHECK(begin_as(HL_I64, true, true, 0) == 0);
    CHECK(!order(HL_LEAVE_READY, &m, sizeof m));
    do
        CHECK(hl_batch_run(&batch, &stop, &left) == 0);
    while (left == HL_LEFT_KICKED);
    r = hl_batch_take(&batch);
    CHECK(r != NULL && r->kind == HL_MESSAGE_ERROR);
    CHECK(r->values[0].bits == 1000 && r->values[1].bits == 2);
    CHECK(memcmp(r->values[1].data, "no", 2) == 0);
    CHECK(hl_batch_end(&batch) == 0);
    go_down();
}

/* M2: a result is copied before the guest is put back, or runs again. */
static void results_stay_while_others_are_made(void)
{
    static const char *const words[] = {"one", "", "three"};
    const struct hl_batch_result *r;
    enum hl_left left;
    size_t found = 0;

    come_up();
    begin(HL_STR, true);
    for (size_t i = 0; i < 3; i++)
        CHECK(!order_value(0, HL_STR, strlen(words[i]), words[i]));
    do {
        CHECK(hl_batch_run(&batch, &stop, &left) == 0);
        for (; (r = hl_batch_take(&batch)) != NULL; found++) {
            CHECK(r->values[0].bits == strlen(words[found]));
            CHECK(memcmp(r->values[0].data, words[found], r->values[0].bits) ==
                  0);
        }
    } while (left == HL_LEFT_KICKED);
    CHECK(found == 3);
    CHECK(hl_batch_end(&batch) == 0);
    go_down();
}

/* M3: and what fits a message always fits. */
static void what_waits_is_bounded(void)
{
    /* All of the input but the reply's room, two heads and the name. */
    static const size_t most = BUFFER - HL_REPLY_ROOM -
                               sizeof(struct hl_message) -
                               2 * sizeof(struct hl_value) - 8 - 8;
    static char nothing[BUFFER];
    const struct hl_message head = {HL_MESSAGE_MAGIC, HL_MESSAGE_RESULT,
                                    RESULT_SIZE, 1, 0};
    size_t calls = 0;

    memcpy(nothing, &head, sizeof head);
    come_up();
    begin(HL_NONE, true);
    for (size_t i = 1; i < HL_BATCH_CALLS; i++)
        CHECK(!order(HL_LEAVE_READY, nothing, RESULT_SIZE));
    CHECK(order(HL_LEAVE_READY, nothing, RESULT_SIZE));
    CHECK(run_all() == HL_BATCH_CALLS);

    size_t each = sizeof head + sizeof(struct hl_value) + 8 + most;
    while ((calls + 1) * each < HL_BATCH_BYTES) {
        CHECK(!order(HL_LEAVE_READY, nothing, most));
        calls++;
    }
    size_t rest = HL_BATCH_BYTES - calls * each;
    CHECK(!order(HL_LEAVE_READY, nothing, rest - each + most - 8));
    CHECK(order(HL_LEAVE_READY, nothing, most)); /* 8 bytes before the end */
    CHECK(run_all() == calls + 2);
    for (size_t i = 0; i < calls; i++)
        CHECK(!order(HL_LEAVE_READY, nothing, most));
    CHECK(order(HL_LEAVE_READY, nothing, rest - each + most));
    CHECK(run_all() == calls + 1);
    CHECK(hl_wire_put_room(hl_batch_write(&batch), HL_BYTES, most + 9) ==
          NULL);
    CHECK(hl_batch_end(&batch) == 0);
    go_down();
}

/* M3: of results that were not taken. */
static void results_are_bounded(void)
{
    const size_t size = 100000, most = HL_BATCH_BYTES / size + 1;
    size_t taken = 0, runs = 0;
    enum hl_left left;

    come_up();
    begin(HL_BYTES, true);
    for (size_t i = 0; i < 3 * most; i++)
        CHECK(!order_value(0, HL_BYTES, size, NULL));
    do {
        size_t n = 0;
        CHECK(hl_batch_run(&batch, &stop, &left) == 0);
        while (hl_batch_take(&batch) != NULL)
            n++;
        CHECK(n <= most);
        taken += n;
        runs++;
    } while (left == HL_LEFT_KICKED);
    CHECK(taken == 3 * most && runs >= 3);
    CHECK(hl_batch_end(&batch) == 0);
    go_down();
}

/* M4: each takes at least a fifth of a millisecond. */
static void a_run_returns_for_signals(void)
{
    enum hl_left left;
    size_t taken = 0;

    come_up();
    begin(HL_I64, true);
    while (!order_value(WORK, HL_I64, 1, NULL))
        ;
    CHECK(hl_batch_run(&batch, &stop, &left) == 0);
    CHECK(left == HL_LEFT_KICKED);
    while (hl_batch_take(&batch) != NULL)
        taken++;
    CHECK(taken < HL_BATCH_CALLS);
    CHECK(hl_batch_end(&batch) == 0);
    go_down();
}

/* M5: arguments lie where the last ones did; what was large is gone. */
static void little_memory_stays(void)
{
    come_up();
    begin(HL_I64, false);
    char *start = hl_batch_write(&batch)->start;
    CHECK(hl_batch_end(&batch) == 0);
    CHECK(batch.room != NULL);
    begin(HL_I64, false);
    char *to = hl_wire_put_room(hl_batch_write(&batch), HL_BYTES, 100000);
    CHECK(hl_batch_write(&batch)->start == start);
    memset(to, 'x', 100000);
    CHECK(hl_batch_end(&batch) == 0);
    size_t left = 0;
    for (size_t i = 0; i < 100000; i++)
        left += to[i] == 'x';
    CHECK(left <= HL_BATCH_KEPT / 2 + PAGE);
    go_down();
}

/* A limit is of one call; a request, of all. */
static void calls_are_ended_from_outside(void)
{
    come_up();
    CHECK(begin_as(HL_I64, true, false, 1000000) == 0);
    CHECK(!order_value(SPIN, HL_I64, 1, NULL));
    CHECK(!order_count());
    CHECK(!order_count());
    run_to(HL_LEFT_TIMEOUT);
    hl_batch_pass_over(&batch);
    hl_sandbox_interrupt(sandbox);
    run_to(HL_LEFT_INTERRUPTED);
    hl_batch_pass_over(&batch);
    run_to(HL_LEFT_INTERRUPTED);
    CHECK(hl_batch_end(&batch) == 0);
    CHECK(counter() == 0);
    go_down();
}

static void what_is_not_added_is_forgotten(void)
{
    come_up();
    begin(HL_I64, false);
    CHECK(hl_wire_put_room(hl_batch_write(&batch), HL_BYTES, 90000) != NULL);
    CHECK(!order_count());
    CHECK(hl_wire_put_room(hl_batch_write(&batch), HL_BYTES, 90000) != NULL);
    CHECK(run_all() == 1 && counter() == 1);
    CHECK(hl_batch_end(&batch) == 0);
    go_down();
}

/* In a child nothing runs, and nothing is put back. */
static void a_child_can_only_end_it(void)
{
    enum hl_left left;
    int status;

    come_up();
    begin(HL_I64, true);
    CHECK(!order_count());
    pid_t child = fork();
    if (child == 0) {
        bool right = hl_batch_run(&batch, &stop, &left) == -ECHILD &&
                     hl_batch_take(&batch) == NULL &&
                     hl_batch_end(&batch) == -ECHILD;
        hl_batch_free(&batch);
        _exit(right ? 0 : 1);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    CHECK(run_all() == 1);
    CHECK(hl_batch_end(&batch) == 0);
    go_down();
}

static void tests(void)
{
    RUN(every_call_begins_at_the_snapshot);
    RUN(the_end_puts_it_back);
    RUN(nothing_runs_once_it_is_poisoned);
    RUN(what_is_no_result_is_left_to_the_caller);
    RUN(errors_are_results_of_some);
    RUN(results_stay_while_others_are_made);
    RUN(what_waits_is_bounded);
    RUN(results_are_bounded);
    RUN(a_run_returns_for_signals);
    RUN(little_memory_stays);
    RUN(calls_are_ended_from_outside);
    RUN(what_is_not_added_is_forgotten);
    RUN(a_child_can_only_end_it);
    CHECK(hl_sandbox_count() == 0);
}

int main(void)
{
    prepare();
    return on_every_driver(tests);
}
