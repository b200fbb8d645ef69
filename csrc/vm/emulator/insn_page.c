/* A page of code, before Unicorn translates any of it. */
#include "vm/emulator/insn.h"

/* What an instruction that begins with this byte, after prefixes, can weigh.
 */
static unsigned weight_at_most(uint8_t op, uint8_t after)
{
    if (op >= 0xd8 && op <= 0xdf)
        return 2;
    if (op == 0x0f)
        return after == 0x3a ? 2 : after == 0x38 ? 1 : hl_insn_is_heavy(after);
    if (op == 0xc4)
        return 2;
    return op == 0x8e;
}

/* The same for a page of code, wherever it begins: no instruction is read. */
static unsigned weight_of_any_page(const uint8_t *code, size_t size)
{
    unsigned sum = 0, most = 0;

    for (size_t i = 0; i + 1 < size; i++) {
        sum += weight_at_most(code[i], code[i + 1]);
        if (i >= HL_INSN_PAGE)
            sum -= weight_at_most(code[i - HL_INSN_PAGE],
                                  code[i - HL_INSN_PAGE + 1]);
        most = sum > most ? sum : most;
    }
    return most + 2; /* the last byte */
}

/* One step of a block: to where it goes on, or to `size`. */
static size_t step(const uint8_t *code, size_t size, size_t at, unsigned *sum)
{
    struct hl_insn insn;

    hl_insn_read(code + at, size - at, &insn);
    if (insn.length == 0)
        return size;
    *sum += insn.weight;
    return insn.ends_block ? size : at + insn.length;
}

unsigned hl_insn_heaviest(const uint8_t *code, size_t size,
                          uint16_t room[HL_INSN_PAGE])
{
    unsigned most = 0;

    if (weight_of_any_page(code, size) <= HL_INSN_MOST_WEIGHT)
        return 0;
    for (size_t start = HL_INSN_PAGE; start-- > 0;) {
        unsigned sum = 0;
        size_t at = step(code, size, start, &sum);
        if (at < HL_INSN_PAGE)
            sum += room[at];
        else
            for (; at < size && at < start + HL_INSN_PAGE;)
                at = step(code, size, at, &sum);
        room[start] = sum < UINT16_MAX ? (uint16_t)sum : UINT16_MAX;
        most = sum > most ? sum : most;
    }
    return most;
}

size_t hl_insn_fatal(const uint8_t *code, size_t size, uint16_t *at,
                     size_t cap)
{
    size_t count = 0;

    for (size_t i = 0; i < size && i < HL_INSN_PAGE; i++) {
        size_t lock = i;
        struct hl_insn insn;
        while (lock < size && lock < i + HL_INSN_MAX &&
               hl_insn_is_prefix(code[lock]) && code[lock] != 0xf0)
            lock++;
        if (lock == size || code[lock] != 0xf0)
            continue;
        hl_insn_read(code + i, size - i, &insn);
        if (!insn.is_fatal)
            continue;
        if (count < cap)
            at[count] = (uint16_t)i;
        count++;
    }
    return count;
}
