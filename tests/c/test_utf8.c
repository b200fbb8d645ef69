/* Text is UTF-8 exactly where Python's strict decoder takes it. */
#include <stdbool.h>
#include <string.h>

#include "abi/native/utf8.h"
#include "check.h"

/* By the definition: decode, and compare with the shortest form. */
static bool is_character(const unsigned char *at, size_t size)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t lead = at[0], value;

    if (size == 1)
        return lead < 0x80;
    value = lead & (0x7fu >> size);
    if (lead >> (7 - size) != (0xffu << (8 - size) & 0xffu) >> (7 - size))
        return false;
    for (size_t i = 1; i < size; i++) {
        if (at[i] >> 6 != 2)
            return false;
        value = value << 6 | (at[i] & 0x3f);
    }
    return value >= least[size] && value <= 0x10ffff &&
           (value < 0xd800 || value > 0xdfff);
}

static bool is_text(const unsigned char *at, size_t size)
{
    size_t n = 0;

    if (size == 0)
        return true;
    for (n = 1; n <= 4 && n <= size; n++)
        if (is_character(at, n))
            return is_text(at + n, size - n);
    return false;
}

/* All of up to three bytes, and all four whose last two matter. */
static void every_short_text(void)
{
    static const unsigned char some[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0xa0,
                                         0xbf, 0xc0, 0xed, 0xf4, 0xff};
    const size_t count = sizeof some;
    unsigned char text[4];

    for (unsigned n = 0; n < 1u << 24; n++) {
        text[0] = (unsigned char)(n >> 16);
        text[1] = (unsigned char)(n >> 8);
        text[2] = (unsigned char)n;
        CHECK(hl_is_utf8((const char *)text, 3) == is_text(text, 3));
    }
    for (unsigned n = 0; n < 1u << 16; n++)
        for (size_t i = 0; i < count * count; i++) {
            text[0] = (unsigned char)(n >> 8);
            text[1] = (unsigned char)n;
            text[2] = some[i / count];
            text[3] = some[i % count];
            CHECK(hl_is_utf8((const char *)text, 4) == is_text(text, 4));
        }
    CHECK(hl_is_utf8("", 0));
}

/* Wherever it lies between eight bytes that are looked at together, and with
 * nothing read behind its end. */
static void a_character_anywhere(void)
{
    static const char *const pieces[] = {"\xc3\xa9", "\xe2\x82\xac",
                                         "\xf0\x9f\x98\x80", "\xff", "\x80"};
    char text[64];

    for (size_t p = 0; p < HL_ARRAY_SIZE(pieces); p++)
        for (size_t size = strlen(pieces[p]); size <= 40; size++)
            for (size_t at = 0; at + strlen(pieces[p]) <= size; at++) {
                char *exact = malloc(size);
                memset(text, 'x', sizeof text);
                memcpy(text + at, pieces[p], strlen(pieces[p]));
                CHECK(exact != NULL);
                memcpy(exact, text, size);
                CHECK(hl_is_utf8(exact, size) == (p < 3));
                if (p < 3 && at + strlen(pieces[p]) == size)
                    CHECK(!hl_is_utf8(exact, size - 1));
                free(exact);
            }
}

int main(void)
{
    RUN(every_short_text);
    RUN(a_character_anywhere);
    return 0;
}
