/* The messages of a call: where they go, and what each must hold. */
#include <errno.h>
#include <string.h>

#include "abi/native/call.h"
#include "check.h"

#define SIZE (HL_REPLY_ROOM + 256)

static char input[SIZE];
static char output[SIZE];
static struct hl_call call;

static void fresh(void)
{
    memset(input, 0, sizeof input);
    memset(output, 0, sizeof output);
    hl_call_init(&call, input, sizeof input, output, sizeof output);
}

/* The guest leaves a message of these types; numbers are 7, texts "text". */
static void left(enum hl_message_kind kind, const enum hl_type *types,
                 size_t count)
{
    struct hl_wire_writer w;

    hl_wire_begin(&w, output, sizeof output);
    for (size_t i = 0; i < count; i++) {
        if (types[i] == HL_STR)
            memcpy(hl_wire_put_room(&w, HL_STR, 4), "text", 4);
        else
            CHECK(hl_wire_put(&w, types[i], types[i] == HL_NONE ? 0 : 7) == 0);
    }
    CHECK(hl_wire_end(&w, kind, HL_NONE) > 0);
}

/* How many values it has, or -EPROTO. */
static int read_all(void)
{
    struct hl_wire_value v;
    int rc, count = 0;

    while ((rc = hl_call_next(&call, &v)) > 0)
        count++;
    CHECK(rc == 0 || (rc == -EPROTO && call.wrong != NULL));
    return rc < 0 ? rc : count;
}

static int reads(enum hl_message_kind kind)
{
    int err = hl_call_open(&call, kind);
    return err < 0 ? err : read_all();
}

#define LEFT(kind, ...)                                                       \
    left(kind, (const enum hl_type[]){__VA_ARGS__},                           \
         sizeof((const enum hl_type[]){__VA_ARGS__}) / sizeof(enum hl_type))

static void each_kind_has_its_shape(void)
{
    fresh();
    CHECK(reads(HL_MESSAGE_LOG) == -EPROTO); /* no message at all */

    LEFT(HL_MESSAGE_LOG, HL_I32, HL_STR);
    CHECK(reads(HL_MESSAGE_LOG) == 2);
    CHECK(reads(HL_MESSAGE_ERROR) == -EPROTO); /* of another kind */
    LEFT(HL_MESSAGE_LOG, HL_STR, HL_I32);
    CHECK(reads(HL_MESSAGE_LOG) == -EPROTO);
    LEFT(HL_MESSAGE_LOG, HL_I32);
    CHECK(reads(HL_MESSAGE_LOG) == -EPROTO);
    LEFT(HL_MESSAGE_ERROR, HL_I32, HL_STR, HL_STR);
    CHECK(reads(HL_MESSAGE_ERROR) == -EPROTO);

    LEFT(HL_MESSAGE_CALL, HL_STR, HL_U64, HL_NONE);
    CHECK(reads(HL_MESSAGE_CALL) == 3);
    LEFT(HL_MESSAGE_CALL, HL_U64);
    CHECK(reads(HL_MESSAGE_CALL) == -EPROTO);
    left(HL_MESSAGE_CALL, NULL, 0);
    CHECK(reads(HL_MESSAGE_CALL) == -EPROTO);

    left(HL_MESSAGE_FUNCTIONS, NULL, 0);
    CHECK(reads(HL_MESSAGE_FUNCTIONS) == 0);
    LEFT(HL_MESSAGE_FUNCTIONS, HL_STR, HL_STR);
    CHECK(reads(HL_MESSAGE_FUNCTIONS) == 2);
    LEFT(HL_MESSAGE_FUNCTIONS, HL_STR, HL_I32);
    CHECK(reads(HL_MESSAGE_FUNCTIONS) == -EPROTO);
}

static void too_many_values_are_refused(void)
{
    enum hl_type types[67] = {HL_STR};

    fresh();
    for (size_t i = 1; i < HL_ARRAY_SIZE(types); i++)
        types[i] = HL_I32;
    left(HL_MESSAGE_CALL, types, 65);
    CHECK(reads(HL_MESSAGE_CALL) == 65);
    left(HL_MESSAGE_CALL, types, 66);
    CHECK(reads(HL_MESSAGE_CALL) == -EPROTO);
}

static void a_result_is_of_its_type_or_an_error(void)
{
    fresh();
    LEFT(HL_MESSAGE_RESULT, HL_U64);
    CHECK(hl_call_open_result(&call, HL_U64) == 0);
    CHECK(call.kind == HL_MESSAGE_RESULT && read_all() == 1);
    CHECK(hl_call_open_result(&call, HL_I64) == 0 && read_all() == -EPROTO);
    LEFT(HL_MESSAGE_RESULT, HL_U64, HL_U64);
    CHECK(hl_call_open_result(&call, HL_U64) == 0 && read_all() == -EPROTO);
    left(HL_MESSAGE_RESULT, NULL, 0);
    CHECK(hl_call_open_result(&call, HL_NONE) == 0 && read_all() == -EPROTO);
    LEFT(HL_MESSAGE_ERROR, HL_I32, HL_STR);
    CHECK(hl_call_open_result(&call, HL_U64) == 0);
    CHECK(call.kind == HL_MESSAGE_ERROR && read_all() == 2);
    LEFT(HL_MESSAGE_LOG, HL_I32, HL_STR);
    CHECK(hl_call_open_result(&call, HL_U64) == -EPROTO);
}

/* C1, and nothing outside of the buffer is written (AddressSanitizer). */
static void replies_lie_behind_the_call(void)
{
    struct hl_wire_writer name;
    char encoded[64];

    fresh();
    hl_wire_begin(&name, encoded, sizeof encoded);
    char *at = name.at;
    memcpy(hl_wire_put_room(&name, HL_STR, 5), "Twice", 5);
    CHECK(hl_call_begin(&call, at, (size_t)(name.at - at)) == 0);
    while (hl_wire_put(&call.writer, HL_U64, 1) == 0) {
    }
    CHECK(hl_call_written(&call) <= SIZE - HL_REPLY_ROOM);
    CHECK(hl_call_end(&call) == 0);
    CHECK(call.size > SIZE - HL_REPLY_ROOM - 16);

    hl_call_reply(&call);
    void *room = hl_wire_put_room(&call.writer, HL_BYTES, HL_REPLY_ROOM);
    CHECK(room == NULL); /* with its header it is too large */
    CHECK(hl_wire_put(&call.writer, HL_BOOL, 1) == 0);
    CHECK(hl_call_written(&call) == call.size + 24 + 16);
    CHECK(hl_call_replied(&call, HL_MESSAGE_RESULT) ==
          (ssize_t)call.size + 24 + 16);

    static char endless[SIZE];
    CHECK(hl_call_begin(&call, endless, sizeof endless) == -ENOSPC);
    CHECK(call.size == 0);
}

static void every_exit_has_a_meaning(void)
{
    static const struct {
        struct hl_exit exit;
        enum hl_left left;
    } cases[] = {
        {{.reason = HL_EXIT_CALL, .value = 1}, HL_LEFT_READY},
        {{.reason = HL_EXIT_CALL, .value = 4}, HL_LEFT_ABORT},
        {{.reason = HL_EXIT_CALL, .value = 0}, HL_LEFT_BROKEN},
        {{.reason = HL_EXIT_CALL, .value = 5}, HL_LEFT_BROKEN},
        {{.reason = HL_EXIT_CALL, .value = UINT64_MAX}, HL_LEFT_BROKEN},
        {{.reason = HL_EXIT_CALL, .value = UINT64_C(1) << 32 | 1},
         HL_LEFT_BROKEN},
        {{.reason = HL_EXIT_KICKED}, HL_LEFT_KICKED},
        {{.reason = HL_EXIT_TIMEOUT}, HL_LEFT_TIMEOUT},
        {{.reason = HL_EXIT_INTERRUPTED}, HL_LEFT_INTERRUPTED},
        {{.reason = HL_EXIT_EXCEPTION}, HL_LEFT_EXCEPTION},
        {{.reason = HL_EXIT_SHUTDOWN}, HL_LEFT_BROKEN},
        {{.reason = HL_EXIT_BAD_ACCESS}, HL_LEFT_BROKEN},
        {{.reason = HL_EXIT_UNKNOWN}, HL_LEFT_BROKEN},
    };

    for (size_t i = 0; i < HL_ARRAY_SIZE(cases); i++)
        CHECK(hl_call_left(&cases[i].exit) == cases[i].left);
}

int main(void)
{
    RUN(each_kind_has_its_shape);
    RUN(too_many_values_are_refused);
    RUN(a_result_is_of_its_type_or_an_error);
    RUN(replies_lie_behind_the_call);
    RUN(every_exit_has_a_meaning);
    return 0;
}
