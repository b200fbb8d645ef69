#include "vm/emulator/insn.h"

#include <string.h>

#include "vm/emulator/insn_tables.h"

enum map { ONE_BYTE, AFTER_0F, AFTER_0F38, AFTER_0F3A };
enum { NONE = 1, P66 = 2, F3 = 4, F2 = 8 }; /* bits of the digits above */

struct reader {
    const uint8_t *code;
    size_t size, at;
    bool short_of; /* it ended too early; zeros were read */

    enum map map;
    uint8_t opcode, modrm;
    bool p66, p67, f2, f3, lock, rex, rex_w, rex_b, vex, vex_l;
    unsigned vex_pp, vex_v;
};

static uint8_t next(struct reader *r)
{
    if (r->at < r->size && r->at < HL_INSN_MAX)
        return r->code[r->at++];
    r->short_of = true;
    return 0;
}

static void skip(struct reader *r, size_t count)
{
    while (count-- > 0)
        (void)next(r);
}

static bool is_memory(const struct reader *r) { return r->modrm >> 6 != 3; }

static unsigned field(const struct reader *r) { return r->modrm >> 3 & 7; }

/* ModRM, SIB, displacement (SDM vol. 2, 2.1.5). */
static void read_modrm(struct reader *r)
{
    r->modrm = next(r);
    unsigned mod = r->modrm >> 6, base = r->modrm & 7;
    bool sib = mod != 3 && base == 4;

    if (sib)
        base = next(r) & 7;
    if (mod == 1)
        skip(r, 1);
    else if (mod == 2 || (mod == 0 && base == 5))
        skip(r, 4);
}

static void read_rest(struct reader *r, char shape)
{
    size_t word = r->p66 && !r->rex_w ? 2 : 4;

    if (strchr("mBZgG", shape))
        read_modrm(r);
    if (shape == 'b' || shape == 'B' || (shape == 'g' && field(r) < 2))
        skip(r, 1);
    else if (shape == 'w')
        skip(r, 2);
    else if (shape == 'e')
        skip(r, 3);
    else if (shape == 'z' || shape == 'Z' || (shape == 'G' && field(r) < 2))
        skip(r, word);
    else if (shape == 'v')
        skip(r, r->rex_w ? 8 : word);
    else if (shape == 'j')
        skip(r, 4);
    else if (shape == 'a')
        skip(r, r->p67 ? 4 : 8);
}

bool hl_insn_is_prefix(uint8_t byte)
{
    return byte >> 4 == 4 || (byte >= 0x64 && byte <= 0x67) || byte == 0xf0 ||
           byte == 0xf2 || byte == 0xf3 || (byte & 0xe7) == 0x26;
}

static void read_prefixes(struct reader *r)
{
    for (;;) {
        uint8_t byte = next(r);
        bool rex = byte >> 4 == 4;
        if (byte == 0x66)
            r->p66 = true;
        else if (byte == 0x67)
            r->p67 = true;
        else if (byte == 0xf2)
            r->f2 = true;
        else if (byte == 0xf3)
            r->f3 = true;
        else if (byte == 0xf0)
            r->lock = true;
        else if (!hl_insn_is_prefix(byte)) {
            r->opcode = byte;
            return;
        }
        /* It counts in front of the opcode only. */
        r->rex = rex;
        r->rex_w = rex && byte & 8;
        r->rex_b = rex && byte & 1;
    }
}

static void lacks(struct hl_insn *out, const char *set)
{
    out->verdict = HL_INSN_LACKING;
    out->set = set;
}

/* What VEX selects: of all that, Unicorn has BMI1 and BMI2. */
static void judge_vex(const struct reader *r, struct hl_insn *out)
{
    static const struct {
        uint8_t map, opcode, prefixes, fields;
    } known[] = {
        {AFTER_0F38, 0xf2, NONE, 0xff},           /* andn */
        {AFTER_0F38, 0xf3, NONE, 0x0e},           /* blsr, blsmsk, blsi */
        {AFTER_0F38, 0xf5, NONE | F3 | F2, 0xff}, /* bzhi, pext, pdep */
        {AFTER_0F38, 0xf6, F2, 0xff},             /* mulx */
        {AFTER_0F38, 0xf7, NONE | P66 | F3 | F2, 0xff}, /* bextr, shifts */
        {AFTER_0F3A, 0xf0, F2, 0xff},                   /* rorx */
    };
    uint8_t low = r->opcode & 15, high = r->opcode >> 4;

    if (r->p66 || r->f2 || r->f3 || r->lock || r->rex) {
        out->verdict = HL_INSN_UNDEFINED;
        return;
    }
    for (size_t i = 0; i < HL_ARRAY_SIZE(known); i++)
        if (known[i].map == r->map && known[i].opcode == r->opcode &&
            known[i].prefixes >> r->vex_pp & 1 &&
            known[i].fields >> field(r) & 1 && !r->vex_l &&
            (r->map != AFTER_0F3A || r->vex_v == 0))
            return;
    if (r->map == AFTER_0F38 && high >= 9 && high <= 11 && low >= 6)
        lacks(out, "FMA");
    else if ((r->map == AFTER_0F38 && r->opcode == 0x13) ||
             (r->map == AFTER_0F3A && r->opcode == 0x1d))
        lacks(out, "F16C");
    else if (r->map == AFTER_0F38 && (r->opcode == 0x49 || r->opcode == 0x4b ||
                                      r->opcode == 0x5c || r->opcode == 0x5e))
        lacks(out, "AMX");
    else
        lacks(out, "AVX");
}

/* What stands behind VEX, EVEX or XOP. */
static void read_vector(struct reader *r, unsigned map)
{
    r->opcode = next(r);
    r->map = map == 2 ? AFTER_0F38 : map == 1 ? AFTER_0F : AFTER_0F3A;
    if (map == 1 && r->opcode == 0x77)
        return;
    read_modrm(r);
    if (map == 3 || map == 8 || (map == 1 && two_bytes[r->opcode] == 'B'))
        skip(r, 1);
    else if (map == 10)
        skip(r, 4);
}

/* C4 or C5 was read (SDM vol. 2, 2.3.5). */
static void read_vex(struct reader *r, struct hl_insn *out)
{
    unsigned map = 1;

    r->vex = true;
    if (r->opcode == 0xc4)
        map = next(r) & 31;
    uint8_t last = next(r);
    r->vex_l = last & 4;
    r->vex_pp = last & 3;
    r->vex_v = ~(unsigned)last >> 3 & 15;
    read_vector(r, map);
    if (map >= 1 && map <= 3)
        judge_vex(r, out);
    else
        lacks(out, "AVX");
}

static void read_evex(struct reader *r, struct hl_insn *out)
{
    unsigned map = next(r) & 7;

    skip(r, 2);
    read_vector(r, map);
    lacks(out, "AVX-512");
}

/* POP, except for the forms that would name a nonexistent register. */
static void read_xop(struct reader *r, struct hl_insn *out)
{
    struct reader ahead = *r;
    unsigned map = next(&ahead) & 31;

    read_rest(r, 'm');
    if (map < 8) {
        out->verdict = field(r) ? HL_INSN_UNDEFINED : HL_INSN_KNOWN;
        return;
    }
    skip(&ahead, 1);
    read_vector(&ahead, map);
    *r = ahead;
    lacks(out, "XOP");
}

/* What LOCK may stand in front of: a table of the opcodes, each with the
 * values of ModRM's field; the operand is in memory. */
static bool may_lock(const struct reader *r)
{
    static const struct {
        uint8_t map, opcode, fields;
    } extra[] = {
        {ONE_BYTE, 0x80, 0x7f}, {ONE_BYTE, 0x81, 0x7f}, {ONE_BYTE, 0x83, 0x7f},
        {ONE_BYTE, 0x86, 0xff}, {ONE_BYTE, 0x87, 0xff}, {ONE_BYTE, 0xf6, 0x0c},
        {ONE_BYTE, 0xf7, 0x0c}, {ONE_BYTE, 0xfe, 0x03}, {ONE_BYTE, 0xff, 0x03},
        {AFTER_0F, 0xab, 0xff}, {AFTER_0F, 0xb3, 0xff}, {AFTER_0F, 0xbb, 0xff},
        {AFTER_0F, 0xba, 0xe0}, {AFTER_0F, 0xb0, 0xff}, {AFTER_0F, 0xb1, 0xff},
        {AFTER_0F, 0xc0, 0xff}, {AFTER_0F, 0xc1, 0xff}, {AFTER_0F, 0xc7, 0x02},
    };

    if (!is_memory(r))
        return false;
    if (r->map == ONE_BYTE && r->opcode < 0x38 && (r->opcode & 7) < 2)
        return true;
    for (size_t i = 0; i < HL_ARRAY_SIZE(extra); i++)
        if (extra[i].map == r->map && extra[i].opcode == r->opcode)
            return extra[i].fields >> field(r) & 1;
    return false;
}

static void judge_one_byte(const struct reader *r, struct hl_insn *out)
{
    switch (r->opcode) {
    case 0xc6:
    case 0xc7:
        if (r->modrm == 0xf8)
            lacks(out, "TSX");
        else if (field(r) != 0)
            out->verdict = HL_INSN_UNDEFINED;
        break;
    case 0xc8: /* the copy of RBP is 2 bytes then */
        if (r->p66)
            out->verdict = HL_INSN_UNDEFINED;
        break;
    case 0xcd:
        out->verdict = HL_INSN_INTERRUPT;
        out->vector = r->code[r->at - 1];
        break;
    case 0xe0: /* Unicorn looks at what REP would look at */
    case 0xe1:
        if (r->f2 || r->f3)
            out->verdict = HL_INSN_UNDEFINED;
        break;
    case 0x8e:
        out->loads_segment = !is_memory(r);
        break;
    default:
        break;
    }
}

static bool is_short_branch(const struct reader *r, char shape)
{
    return shape == 'j' && r->p66 && !r->rex_w;
}

/* The vector instructions among them: is there one with these prefixes?  Where
 * there are two, processors and Unicorn choose differently. */
static bool exists(const struct reader *r, char digit)
{
    unsigned kinds = (unsigned)r->p66 + r->f2 + r->f3;
    unsigned bit = r->p66 ? P66 : r->f3 ? F3 : r->f2 ? F2 : NONE;
    unsigned allowed =
        (unsigned)(digit <= '9' ? digit - '0' : digit - 'a' + 10);

    return digit == '*' || (kinds <= 1 && allowed & bit);
}

/* Forms that are not instructions, of opcodes that are. */
static bool is_malformed(const struct reader *r)
{
    static const uint8_t shifts[] = {0x54, 0x54, 0xcc}; /* 0f 71, 72, 73 */

    switch (r->opcode) {
    case 0x12:
    case 0x16:
        return r->p66 && !is_memory(r);
    case 0x50:
    case 0xc5:
    case 0xd7:
        return is_memory(r);
    case 0x71:
    case 0x72:
    case 0x73:
        return is_memory(r) || !(shifts[r->opcode - 0x71] >> field(r) & 1);
    case 0xd6:
        return (r->f2 || r->f3) && is_memory(r);
    case 0xe7:
        return !is_memory(r);
    case 0xae:
        if (is_memory(r))
            return r->f2 || r->f3 || (r->p66 && field(r) < 6);
        return r->f2 || r->p66 || (r->f3 && field(r) > 3);
    default:
        return false;
    }
}

static void judge_two_bytes(const struct reader *r, struct hl_insn *out)
{
    if ((r->opcode == 0x78 || r->opcode == 0x79) && (r->p66 || r->f2))
        lacks(out, "SSE4a");
    else if (r->opcode == 0x2b && (r->f2 || r->f3))
        lacks(out, "SSE4a");
    else if (r->opcode == 0x0e || r->opcode == 0x0f)
        lacks(out, "3DNow!");
    else if (r->opcode == 0x01 && (r->modrm == 0xd5 || r->modrm == 0xd6))
        lacks(out, "TSX");
    else if (r->opcode == 0xc7 && is_memory(r) && field(r) >= 3 &&
             field(r) <= 5)
        lacks(out, "XSAVEC and XSAVES");
    else if (r->opcode == 0xae && r->p66 && is_memory(r) && field(r) == 7)
        lacks(out, "CLFLUSHOPT");
    else if (!exists(r, two_bytes_by_prefix[r->opcode]) || is_malformed(r))
        out->verdict = HL_INSN_UNDEFINED;
    out->loads_segment =
        (r->opcode == 0x00 && !is_memory(r) && field(r) >= 4) ||
        ((r->opcode == 0x02 || r->opcode == 0x03) && !is_memory(r));
}

static void judge_three_bytes(const struct reader *r, struct hl_insn *out)
{
    bool first = r->map == AFTER_0F38;
    const char *by_prefix = first ? after_0f38 : after_0f3a;

    if ((first && r->opcode >= 0xc8 && r->opcode <= 0xcd) ||
        (!first && r->opcode == 0xcc))
        lacks(out, "SHA");
    else if ((first && r->opcode == 0xcf) ||
             (!first && (r->opcode == 0xce || r->opcode == 0xcf)))
        lacks(out, "GFNI");
    else if (first && r->opcode == 0xf6 && (r->p66 || r->f3))
        lacks(out, "ADX");
    else if (first && (r->opcode == 0xf8 || r->opcode == 0xf9))
        lacks(out, "MOVDIR");
    else if (!exists(r, by_prefix[r->opcode]))
        out->verdict = HL_INSN_UNDEFINED;
}

static void read_escaped(struct reader *r, struct hl_insn *out)
{
    r->opcode = next(r);
    if (r->opcode == 0x38 || r->opcode == 0x3a) {
        r->map = r->opcode == 0x38 ? AFTER_0F38 : AFTER_0F3A;
        r->opcode = next(r);
        read_rest(r, r->map == AFTER_0F38 ? 'm' : 'B');
        judge_three_bytes(r, out);
        return;
    }
    r->map = AFTER_0F;
    char shape = two_bytes[r->opcode];
    read_rest(r, shape);
    if (shape == '-' || is_short_branch(r, shape))
        out->verdict = HL_INSN_UNDEFINED;
    else
        judge_two_bytes(r, out);
}

bool hl_insn_is_heavy(uint8_t op)
{
    static const uint8_t heavy[] = {0x02, 0x03, 0x70, 0xa0, 0xa1, 0xa4, 0xa5,
                                    0xa8, 0xa9, 0xac, 0xad, 0xb0, 0xb1, 0xb2,
                                    0xb4, 0xb5, 0xc2, 0xc4, 0xc5, 0xc6};

    return memchr(heavy, op, sizeof heavy) != NULL;
}

/* By counting them, for each instruction. */
static unsigned weigh(const struct reader *r)
{
    if (r->map == ONE_BYTE && r->opcode >= 0xd8 && r->opcode <= 0xdf)
        return 2;
    if (r->map == ONE_BYTE)
        return r->opcode == 0x8e;
    if (r->map == AFTER_0F)
        return hl_insn_is_heavy(r->opcode);
    return r->map == AFTER_0F3A ? 2 : 1;
}

/* BT and its like on a register, with LOCK: an address that it has not. */
static bool is_fatal(const struct reader *r)
{
    return r->lock && r->map == AFTER_0F && !is_memory(r) &&
           (r->opcode == 0xa3 || r->opcode == 0xab || r->opcode == 0xb3 ||
            r->opcode == 0xbb || r->opcode == 0xba);
}

/* Branches, and what raises an exception whatever the operands. */
static bool ends_block(const struct reader *r)
{
    uint8_t op = r->opcode;

    if (r->map == ONE_BYTE)
        return op >> 4 == 7 || (op >= 0xe0 && op <= 0xe3) || op == 0xe8 ||
               op == 0xe9 || op == 0xeb || op == 0xc2 || op == 0xc3 ||
               op == 0xcc || op == 0xcd ||
               (op == 0xff && field(r) >= 2 && field(r) <= 5);
    return r->map == AFTER_0F &&
           (op >> 4 == 8 || op == 0x05 || op == 0x0b || op == 0x34);
}

void hl_insn_read(const uint8_t *code, size_t size, struct hl_insn *out)
{
    struct reader r = {.code = code, .size = size};

    *out = (struct hl_insn){.verdict = HL_INSN_KNOWN};
    read_prefixes(&r);
    if (r.opcode == 0xc4 || r.opcode == 0xc5) {
        read_vex(&r, out);
    } else if (r.opcode == 0x62) {
        read_evex(&r, out);
    } else if (r.opcode == 0x8f) {
        read_xop(&r, out);
    } else if (r.opcode == 0x0f) {
        read_escaped(&r, out);
    } else {
        char shape = one_byte[r.opcode];
        read_rest(&r, shape);
        if (shape == '-' || is_short_branch(&r, shape))
            out->verdict = HL_INSN_UNDEFINED;
        if (!r.short_of)
            judge_one_byte(&r, out);
    }
    if (r.short_of) {
        *out = (struct hl_insn){.verdict = HL_INSN_KNOWN};
        return;
    }
    if (r.lock && !r.vex && out->verdict == HL_INSN_KNOWN && !may_lock(&r))
        out->verdict = HL_INSN_UNDEFINED;
    out->length = r.at;
    out->operand = (r.modrm & 7) | (r.rex_b ? 8 : 0);
    out->is_fatal = is_fatal(&r);
    out->weight = weigh(&r);
    out->ends_block = ends_block(&r);
}
