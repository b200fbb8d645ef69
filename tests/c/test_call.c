/* The messages of a call: where they go, and what each must hold. */
#include <errno.h>
#include <string.h>

#include "abi/native/call.h"
#include "check.h"
#include "os/map.h"

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
    CHECK(hl_call_end(&call) == 0);
    CHECK(call.size > SIZE - HL_REPLY_ROOM - 16);

    hl_call_reply(&call);
    void *room = hl_wire_put_room(&call.writer, HL_BYTES, HL_REPLY_ROOM);
    CHECK(room == NULL); /* with its header it is too large */
    CHECK(hl_wire_put(&call.writer, HL_BOOL, 1) == 0);
    CHECK(hl_call_replied(&call, HL_MESSAGE_RESULT) == 0);
    CHECK(call.message == call.size && call.sent == call.size + 24 + 16);

    static char endless[SIZE];
    CHECK(hl_call_begin(&call, endless, sizeof endless) == -ENOSPC);
    CHECK(call.size == 0);
}

/* C3 */
static bool is_zero_from(size_t at)
{
    for (; at < SIZE; at++)
        if (input[at])
            return false;
    return true;
}

static void what_is_not_sent_is_zero(void)
{
    static const char name[24] = "twenty-four bytes long.";
    uint64_t one = 1;

    fresh();
    CHECK(hl_call_begin(&call, name, sizeof name) == 0);
    CHECK(hl_wire_put(&call.writer, HL_U64, UINT64_MAX) == 0);
    CHECK(hl_call_end(&call) == 0);
    CHECK(hl_call_send(&call) == 0 && is_zero_from(call.size));
    CHECK(!is_zero_from(call.size - 8));

    hl_call_reply(&call); /* a long one, and then a short one */
    memset(hl_wire_put_room(&call.writer, HL_BYTES, 1000), 'x', 1000);
    CHECK(hl_call_replied(&call, HL_MESSAGE_RESULT) == 0);
    CHECK(hl_call_send(&call) == call.size && input[call.size + 900] == 'x');
    hl_call_reply(&call);
    CHECK(hl_wire_put(&call.writer, HL_BOOL, one) == 0);
    CHECK(hl_call_replied(&call, HL_MESSAGE_RESULT) == 0);
    CHECK(hl_call_send(&call) == call.size);
    CHECK(is_zero_from(call.size + 24 + 16));

    /* One that was never finished: an argument was wrong. */
    CHECK(hl_call_begin(&call, name, sizeof name) == 0);
    memset(hl_wire_put_room(&call.writer, HL_BYTES, 150), 'y', 150);
    CHECK(hl_call_begin(&call, name, sizeof name) == 0);
    CHECK(hl_call_end(&call) == 0);
    CHECK(hl_call_send(&call) == 0 && is_zero_from(call.size));

    memset(hl_wire_put_room(&call.writer, HL_BYTES, 100), 'z', 100);
    hl_call_nothing(&call);
    CHECK(hl_call_send(&call) == 0 && is_zero_from(0));
}

/* A message of more than a MiB is not zeroed but given back. */
static void much_is_dropped(void)
{
    const size_t size = (size_t)4 << 20;
    struct hl_map map;
    struct hl_call large;

    CHECK(hl_map_create(&map, size, HL_HUGE_NEVER) == 0);
    char *buffer = map.addr;
    hl_call_init(&large, buffer, size, output, sizeof output);
    CHECK(hl_call_begin(&large, "", 0) == 0);
    const size_t most = size - HL_REPLY_ROOM - 64;
    memset(hl_wire_put_room(&large.writer, HL_BYTES, most), 'x', most);
    CHECK(hl_call_end(&large) == 0 && hl_call_send(&large) == 0);
    CHECK(buffer[most] == 'x');
    hl_call_nothing(&large);
    CHECK(hl_call_send(&large) == 0);
    for (size_t i = 0; i < size; i++)
        CHECK(buffer[i] == 0);
    hl_map_destroy(&map);
}

int main(void)
{
    RUN(each_kind_has_its_shape);
    RUN(too_many_values_are_refused);
    RUN(a_result_is_of_its_type_or_an_error);
    RUN(replies_lie_behind_the_call);
    RUN(what_is_not_sent_is_zero);
    RUN(much_is_dropped);
    return 0;
}
