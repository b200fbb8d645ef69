/* Messages: what is written is read, and whatever is read does no harm. */
#include <string.h>

#include "abi/native/wire.h"
#include "check.h"

/* Read everything, and touch every payload: under AddressSanitizer nothing
 * outside of the buffer may be.  Returns the values, or -EPROTO. */
static int read_all(const void *buffer, size_t size)
{
    struct hl_wire_reader r;
    struct hl_wire_value v;
    int count = 0;
    volatile char sum = 0;

    int err = hl_wire_open(&r, buffer, size);
    while (err == 0 && r.left) {
        err = hl_wire_next(&r, &v);
        CHECK(r.at <= (const char *)buffer + size);
        if (err == 0 && (v.type == HL_STR || v.type == HL_BYTES))
            for (uint64_t i = 0; i < v.bits; i++)
                sum = (char)(sum + v.data[i]);
        count++;
    }
    if (err == 0)
        err = hl_wire_close(&r);
    CHECK((err < 0) == (r.wrong != NULL));
    return err < 0 ? err : count;
}

static void numbers_come_back(void)
{
    static const struct {
        enum hl_type type;
        uint64_t bits;
    } values[] = {
        {HL_NONE, 0},           {HL_I32, 0},          {HL_I32, INT32_MAX},
        {HL_I32, (uint64_t)-1}, {HL_I64, 1ull << 63}, {HL_U32, UINT32_MAX},
        {HL_U64, UINT64_MAX},   {HL_F32, UINT32_MAX}, {HL_F64, UINT64_MAX},
        {HL_BOOL, 0},           {HL_BOOL, 1},
    };
    char buffer[512];
    struct hl_wire_writer w;
    struct hl_wire_reader r;
    struct hl_wire_value v;

    hl_wire_begin(&w, buffer, sizeof buffer);
    for (size_t i = 0; i < HL_ARRAY_SIZE(values); i++)
        CHECK(hl_wire_put(&w, values[i].type, values[i].bits) == 0);
    ssize_t size = hl_wire_end(&w, HL_MESSAGE_CALL, HL_STR);
    CHECK(size == 24 + 16 * (ssize_t)HL_ARRAY_SIZE(values));
    CHECK(hl_wire_open(&r, buffer, (size_t)size) == 0);
    CHECK(r.kind == HL_MESSAGE_CALL && r.result == HL_STR);
    for (size_t i = 0; i < HL_ARRAY_SIZE(values); i++) {
        CHECK(hl_wire_next(&r, &v) == 0);
        CHECK(v.type == values[i].type && v.bits == values[i].bits);
    }
    CHECK(hl_wire_close(&r) == 0);
    CHECK(hl_wire_next(&r, &v) == -EPROTO);
}

static void bytes_come_back(void)
{
    for (size_t length = 0; length < 40; length++) {
        char buffer[128];
        struct hl_wire_writer w;
        struct hl_wire_reader r;
        struct hl_wire_value v;
        memset(buffer, 0xee, sizeof buffer);
        hl_wire_begin(&w, buffer, sizeof buffer);
        void *to = hl_wire_put_room(&w, HL_BYTES, length);
        CHECK(to != NULL);
        memset(to, 'x', length);
        ssize_t size = hl_wire_end(&w, HL_MESSAGE_RESULT, HL_NONE);
        CHECK(size == (ssize_t)(40 + (length + 7) / 8 * 8));
        for (size_t i = 40 + length; i < (size_t)size; i++)
            CHECK(buffer[i] == 0); /* nothing of before */
        CHECK(hl_wire_open(&r, buffer, sizeof buffer) == 0);
        CHECK(hl_wire_next(&r, &v) == 0);
        CHECK(v.type == HL_BYTES && v.bits == length);
        CHECK(v.data == buffer + 40);
        CHECK(hl_wire_close(&r) == 0);
    }
}

static void what_does_not_fit_is_refused(void)
{
    for (size_t size = 0; size < 100; size++) {
        char *buffer = malloc(size + 1); /* exact, for AddressSanitizer */
        struct hl_wire_writer w;
        hl_wire_begin(&w, buffer, size);
        int put = hl_wire_put(&w, HL_I32, 1);
        CHECK((put == 0) == (size >= 40));
        void *room = hl_wire_put_room(&w, HL_STR, 9);
        CHECK((room != NULL) == (size >= 40 + 32 || (put && size >= 56)));
        ssize_t end = hl_wire_end(&w, HL_MESSAGE_CALL, HL_NONE);
        CHECK((end >= 24) == (size >= 24));
        CHECK(end <= (ssize_t)size);
        free(buffer);
    }
    char buffer[64];
    struct hl_wire_writer w;
    hl_wire_begin(&w, buffer, sizeof buffer);
    CHECK(hl_wire_put_room(&w, HL_STR, SIZE_MAX) == NULL);
    CHECK(hl_wire_put_room(&w, HL_STR, SIZE_MAX - 16) == NULL);
    CHECK(hl_wire_put_room(&w, HL_STR, (size_t)1 << 63) == NULL);
}

/* A message of three values, as bytes. */
static size_t sample(char *buffer, size_t size)
{
    struct hl_wire_writer w;

    hl_wire_begin(&w, buffer, size);
    memcpy(hl_wire_put_room(&w, HL_STR, 5), "hello", 5);
    CHECK(hl_wire_put(&w, HL_I32, 7) == 0);
    memcpy(hl_wire_put_room(&w, HL_BYTES, 16), "0123456789abcdef", 16);
    return (size_t)hl_wire_end(&w, HL_MESSAGE_CALL, HL_NONE);
}

static void lies_are_found(void)
{
    static const struct {
        size_t at;
        uint64_t value; /* 4 bytes of it for the header's small fields */
        size_t width;
    } lies[] = {
        {0, 1, 4},
        {4, 0, 4},
        {4, 6, 4},
        {8, 0, 8},
        {8, 23, 8},
        {8, 25, 8},
        {8, 32, 8},
        {8, UINT64_MAX, 8},
        {8, 1ull << 63, 8},
        {16, 0, 4},
        {16, 2, 4},
        {16, 4, 4},
        {16, UINT32_MAX, 4},
        {20, HL_TYPES, 4},
        {24, HL_TYPES, 4},
        {24, UINT32_MAX, 4},
        {32, 1000, 8},
        {32, UINT64_MAX, 8},
        {32, UINT64_MAX - 7, 8},
        {32, 1ull << 63, 8},
        {32, 64, 8},
        {56, 1ull << 32, 8},
        {48, HL_BOOL, 4},
    };
    char good[256];
    size_t size = sample(good, sizeof good);

    CHECK(read_all(good, size) == 3);
    for (size_t i = 0; i < HL_ARRAY_SIZE(lies); i++) {
        char *bad = malloc(size);
        memcpy(bad, good, size);
        memcpy(bad + lies[i].at, &lies[i].value, lies[i].width);
        if (read_all(bad, size) != -EPROTO)
            fprintf(stderr, "lie %zu was believed\n", i);
        CHECK(read_all(bad, size) == -EPROTO);
        free(bad);
    }
    for (size_t cut = 0; cut < size; cut++) {
        char *bad = malloc(cut + 1);
        memcpy(bad, good, cut);
        CHECK(read_all(bad, cut) == -EPROTO);
        free(bad);
    }
}

/* One more value, behind the buffer's end. */
static void two_lies_that_agree_are_found(void)
{
    char good[256];
    size_t size = sample(good, sizeof good);
    struct hl_message head;
    struct hl_wire_reader r;
    memcpy(&head, good, sizeof head);
    head.size += sizeof(struct hl_value);
    head.count++;
    char *longer = malloc(size);
    memcpy(longer, good, size);
    memcpy(longer, &head, sizeof head);
    CHECK(hl_wire_open(&r, longer, size) == -EPROTO);
    free(longer);
}

static void random_bytes_do_no_harm(void)
{
    char good[256];
    size_t size = sample(good, sizeof good);
    uint64_t seed = 9;
    int accepted = 0;

    for (int i = 0; i < 300000; i++) {
        size_t length = size - next_random(&seed) % 3 * 8;
        char *bad = malloc(length);
        memcpy(bad, good, length);
        for (uint64_t n = next_random(&seed) % 4; n > 0; n--) {
            size_t at = next_random(&seed) % (length / 4) * 4;
            uint32_t value =
                (uint32_t)(next_random(&seed) >> next_random(&seed) % 64);
            memcpy(bad + at, &value, 4);
        }
        accepted += read_all(bad, length) >= 0;
        free(bad);
    }
    CHECK(accepted > 1000); /* else it tested nothing but the header */
}

int main(void)
{
    RUN(numbers_come_back);
    RUN(bytes_come_back);
    RUN(what_does_not_fit_is_refused);
    RUN(lies_are_found);
    RUN(two_lies_that_agree_are_found);
    RUN(random_bytes_do_no_harm);
    return 0;
}
