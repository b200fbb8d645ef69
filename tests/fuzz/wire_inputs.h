/* Messages for fuzz_wire.c: nearly right, and changes to them. */
#ifndef HL_TESTS_WIRE_INPUTS_H
#define HL_TESTS_WIRE_INPUTS_H

#include "fuzz.h"
#include "guest/abi.h"

static void put32(unsigned char *at, uint64_t value)
{
    uint32_t v = (uint32_t)value;
    memcpy(at, &v, 4);
}

static void put64(unsigned char *at, uint64_t value) { memcpy(at, &value, 8); }

/* Something like a message in buffer[0..size). */
static void make_message(unsigned char *buffer, size_t size)
{
    size_t at = 24;
    uint32_t count = 0;

    for (size_t i = 0; i < size; i++)
        buffer[i] = (unsigned char)(fuzz_below(4) ? 0 : fuzz_next());
    if (size < 24 || fuzz_below(50) == 0)
        return;
    for (uint64_t n = fuzz_below(7); n > 0 && at + 16 <= size; n--) {
        uint64_t type = fuzz_below(HL_TYPES + (fuzz_below(20) == 0));
        uint64_t room = size - at - 16;
        uint64_t bits = fuzz_below(3) ? fuzz_below(100) : fuzz_edge();
        if (type == HL_STR || type == HL_BYTES)
            bits = fuzz_below(20) ? fuzz_below(room + 1) / 4 : fuzz_edge();
        put32(buffer + at, type);
        put32(buffer + at + 4, fuzz_below(10) ? 0 : fuzz_next());
        put64(buffer + at + 8, bits);
        at += 16;
        count++;
        if (type == HL_STR || type == HL_BYTES) {
            if (bits > size - at || ((bits + 7) & ~7ULL) > size - at)
                break;
            at += (bits + 7) & ~7ULL;
        }
    }
    put32(buffer, fuzz_below(60) ? HL_MESSAGE_MAGIC : fuzz_next());
    put32(buffer + 4, fuzz_below(30) ? 1 + fuzz_below(5) : fuzz_edge());
    put64(buffer + 8, fuzz_below(20) ? at : fuzz_edge());
    put32(buffer + 16, fuzz_below(20) ? count : fuzz_edge());
    put32(buffer + 20, fuzz_below(30) ? fuzz_below(HL_TYPES) : fuzz_edge());
    for (uint64_t n = fuzz_below(4); n > 1; n--)
        put64(buffer + fuzz_below(size / 8) * 8, fuzz_edge());
}

/* One change that somebody makes meanwhile. */
struct change {
    size_t at, width;
    uint64_t value;
};

static struct change make_change(size_t size)
{
    struct change c = {.width = fuzz_below(2) ? 4 : 8, .value = fuzz_edge()};
    size_t limit = fuzz_below(3) ? (size < 128 ? size : 128) : size;

    if (size < 8)
        return (struct change){0, 0, 0};
    c.at = fuzz_below(limit / 4) * 4;
    if (c.width > size - c.at)
        c.width = 4;
    if (fuzz_below(3) == 0)
        c.value = fuzz_below(HL_TYPES + 1);
    return c;
}

#endif
