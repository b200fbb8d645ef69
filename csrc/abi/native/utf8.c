#include "abi/native/utf8.h"

#include <string.h>

#define HIGH_BITS UINT64_C(0x8080808080808080)

/* How many bytes from there on are ASCII: most text is nothing else. */
static size_t ascii(const unsigned char *at, size_t left)
{
    size_t n = 0;
    uint64_t eight;

    for (; left - n >= sizeof eight; n += sizeof eight) {
        memcpy(&eight, at + n, sizeof eight);
        if (eight & HIGH_BITS)
            break;
    }
    while (n < left && at[n] < 0x80)
        n++;
    return n;
}

/* Whether a character's second byte can follow its first: what would be a
 * longer form than needed, a surrogate, or too large a number shows there. */
static bool may_follow(unsigned char first, unsigned char second)
{
    switch (first) {
    case 0xe0:
        return second >= 0xa0;
    case 0xed:
        return second < 0xa0;
    case 0xf0:
        return second >= 0x90;
    case 0xf4:
        return second < 0x90;
    default:
        return true;
    }
}

/* Bytes of the character there, which is not ASCII; 0: it is none. */
static size_t character(const unsigned char *at, size_t left)
{
    size_t size = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;

    if (at[0] < 0xc2 || at[0] > 0xf4 || size > left)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return may_follow(at[0], at[1]) ? size : 0;
}

bool hl_is_utf8(const char *text, size_t size)
{
    const unsigned char *at = (const unsigned char *)text;

    for (size_t done = ascii(at, size); done < size;
         done += ascii(at + done, size - done)) {
        size_t more = character(at + done, size - done);
        if (more == 0)
            return false;
        done += more;
    }
    return true;
}
