/* Instructions: lengths as an assembler has them, and what is to be made of
 * them; then noise, which must not be read past its end. */
#include <string.h>

#include "check.h"
#include "vm/emulator/insn.h"

static const struct {
    const char *bytes;
    enum hl_insn_verdict verdict;
    const char *set;
} known[] = {
    {"90", HL_INSN_KNOWN, NULL},
    {"4801c8", HL_INSN_KNOWN, NULL},
    {"48b80102030405060708", HL_INSN_KNOWN, NULL},
    {"66b80102", HL_INSN_KNOWN, NULL},
    {"48a10102030405060708", HL_INSN_KNOWN, NULL},
    {"67a101020304", HL_INSN_KNOWN, NULL},
    {"8b8424f0000000", HL_INSN_KNOWN, NULL},
    {"8b0425f0000000", HL_INSN_KNOWN, NULL},
    {"8b05f0000000", HL_INSN_KNOWN, NULL},
    {"8b44247f", HL_INSN_KNOWN, NULL},
    {"66c7001234", HL_INSN_KNOWN, NULL},
    {"48c70001020304", HL_INSN_KNOWN, NULL},
    {"f6c101", HL_INSN_KNOWN, NULL},
    {"f6d1", HL_INSN_KNOWN, NULL},
    {"66f7c10102", HL_INSN_KNOWN, NULL},
    {"c8010203", HL_INSN_KNOWN, NULL},
    {"c20102", HL_INSN_KNOWN, NULL},
    {"0f8401020304", HL_INSN_KNOWN, NULL},
    {"666648e801020304", HL_INSN_KNOWN, NULL},
    {"66e801020304", HL_INSN_UNDEFINED, NULL},
    {"660f3a0fc105", HL_INSN_KNOWN, NULL},
    {"f2480f38f1c1", HL_INSN_KNOWN, NULL},
    {"f30fb8c1", HL_INSN_KNOWN, NULL},
    {"0fb8c1", HL_INSN_UNDEFINED, NULL},
    {"660f71d005", HL_INSN_KNOWN, NULL},
    {"660f711005", HL_INSN_UNDEFINED, NULL},
    {"f048ff07", HL_INSN_KNOWN, NULL},
    {"f08b07", HL_INSN_UNDEFINED, NULL},
    {"f0660fbae805", HL_INSN_UNDEFINED, NULL},
    {"c4e278f2d1", HL_INSN_KNOWN, NULL},
    {"c4e37bf0d00c", HL_INSN_KNOWN, NULL},
    {"c4e373f0d00c", HL_INSN_LACKING, "AVX"},
    {"c5f058c2", HL_INSN_LACKING, "AVX"},
    {"c5f9c6c205", HL_INSN_LACKING, "AVX"},
    {"c4e37d19c101", HL_INSN_LACKING, "AVX"},
    {"c4e27198c2", HL_INSN_LACKING, "FMA"},
    {"62f1744858c2", HL_INSN_LACKING, "AVX-512"},
    {"62f37d48194100f0", HL_INSN_LACKING, "AVX-512"},
    {"8fe870a2c230", HL_INSN_LACKING, "XOP"},
    {"8f00", HL_INSN_KNOWN, NULL},
    {"cd80", HL_INSN_INTERRUPT, NULL},
};

static size_t bytes_of(const char *hex, uint8_t *out)
{
    size_t n = 0;

    for (unsigned byte; sscanf(hex + 2 * n, "%2x", &byte) == 1; n++)
        out[n] = (uint8_t)byte;
    return n;
}

static void instructions_are_read(void)
{
    for (size_t i = 0; i < HL_ARRAY_SIZE(known); i++) {
        uint8_t code[32] = {0};
        struct hl_insn insn;
        size_t n = bytes_of(known[i].bytes, code);

        hl_insn_read(code, sizeof code, &insn);
        if (insn.length != n || insn.verdict != known[i].verdict)
            fprintf(stderr, "%s: length %zu, verdict %d\n", known[i].bytes,
                    insn.length, (int)insn.verdict);
        CHECK(insn.length == n && insn.verdict == known[i].verdict);
        CHECK((insn.set == NULL) == (known[i].set == NULL));
        CHECK(insn.set == NULL || strcmp(insn.set, known[i].set) == 0);
        /* Cut short, it is not judged. */
        for (size_t less = 0; less < n; less++) {
            uint8_t *exact = malloc(less ? less : 1);
            CHECK(exact != NULL);
            memcpy(exact, code, less);
            hl_insn_read(exact, less, &insn);
            CHECK(insn.length == 0 && insn.verdict == HL_INSN_KNOWN);
            free(exact);
        }
    }
}

/* Of exactly its size, for a sanitizer to see a read behind it. */
static void noise_is_read(void)
{
    static uint16_t room[HL_INSN_PAGE];
    uint64_t state = 1;

    for (int i = 0; i < 200; i++) {
        size_t size = next_random(&state) % (2 * HL_INSN_PAGE) + 1;
        uint8_t *code = malloc(size);
        struct hl_insn insn;
        CHECK(code != NULL);
        for (size_t j = 0; j < size; j++)
            code[j] = (uint8_t)(next_random(&state) >> 32);
        for (size_t j = 0; j < size; j++) {
            hl_insn_read(code + j, size - j, &insn);
            CHECK(insn.length <= HL_INSN_MAX && insn.length <= size - j);
        }
        if (size > HL_INSN_PAGE)
            (void)hl_insn_heaviest(code, size, room);
        (void)hl_insn_fatal(code, size, room, HL_INSN_PAGE);
        free(code);
    }
}

static void pages_are_weighed(void)
{
    static uint8_t code[2 * HL_INSN_PAGE];
    static uint16_t room[HL_INSN_PAGE];
    uint16_t at[4];

    memset(code, 0x90, sizeof code);
    CHECK(hl_insn_heaviest(code, sizeof code, room) == 0);
    /* 300 of fsin, across the end of the page. */
    for (size_t i = 0; i < 300; i++)
        memcpy(code + HL_INSN_PAGE - 200 + 2 * i, "\xd9\xfe", 2);
    CHECK(hl_insn_heaviest(code, sizeof code, room) > HL_INSN_MOST_WEIGHT);
    /* A branch in between makes two blocks of it. */
    memcpy(code + HL_INSN_PAGE - 200 + 300, "\xeb\x00", 2);
    CHECK(hl_insn_heaviest(code, sizeof code, room) <= HL_INSN_MOST_WEIGHT);

    memset(code, 0x90, sizeof code);
    CHECK(hl_insn_fatal(code, sizeof code, at, 4) == 0);
    memcpy(code + 100, "\x66\xf0\x0f\xab\xc8", 5);
    memcpy(code + 200, "\xf0\x0f\xab\x08", 4); /* in memory: no such */
    CHECK(hl_insn_fatal(code, sizeof code, at, 4) == 2);
    CHECK(at[0] == 100 && at[1] == 101);
}

int main(void)
{
    RUN(instructions_are_read);
    RUN(noise_is_read);
    RUN(pages_are_weighed);
    return 0;
}
