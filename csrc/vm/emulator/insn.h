/* Machine code of x86-64, read one instruction at a time: how long it is, and
 * whether the emulator can be trusted with it.
 *
 * Unicorn executes some unknown instructions as others: AVX as the SSE
 * instruction with the same opcode, XOP as POP, SSE4a wrongly.  So it may only
 * execute instructions on a list, which was made by comparing it with a
 * processor; any other instruction ends the guest.
 *
 * Pure; the code is hostile. */
#ifndef HL_VM_EMULATOR_INSN_H
#define HL_VM_EMULATOR_INSN_H

#include "base.h"

#define HL_INSN_MAX 15 /* bytes */
#define HL_INSN_PAGE 4096

enum hl_insn_verdict {
    HL_INSN_KNOWN,     /* Unicorn executes or refuses it rightly */
    HL_INSN_UNDEFINED, /* no instruction, though Unicorn may take it for one */
    HL_INSN_LACKING,   /* one of an instruction set that Unicorn lacks */
    HL_INSN_INTERRUPT, /* INT n */
};

struct hl_insn {
    enum hl_insn_verdict verdict;
    size_t length;      /* 0: it does not end within the code given */
    const char *set;    /* that is lacking, for people */
    unsigned vector;    /* of an INT n */
    bool loads_segment; /* reads a descriptor on behalf of the guest */
    bool ends_block;    /* Unicorn translates no further */
    unsigned operand;   /* the general register that names it */
    bool is_fatal;      /* Unicorn aborts as it translates it */
    unsigned weight;    /* what Unicorn uses up of its table of temporaries */
};

/* That table has 512 rows, 52 of which are taken, and Unicorn does not look
 * whether there is one left: a block, which is at most 512 instructions in
 * 4096 bytes, may weigh this much. */
#define HL_INSN_MOST_WEIGHT 440

/* The instruction at code[0..size). */
void hl_insn_read(const uint8_t *code, size_t size, struct hl_insn *out);

/* Whether the byte is a prefix; whether Unicorn takes a temporary for the
 * opcode behind 0F that it does not give back. */
bool hl_insn_is_prefix(uint8_t byte);
bool hl_insn_is_heavy(uint8_t op);

/* Where, in code[0..HL_INSN_PAGE), such fatal ones could begin: at most `cap`
 * offsets into `at`.  Returns how many there are. */
size_t hl_insn_fatal(const uint8_t *code, size_t size, uint16_t *at,
                     size_t cap);

/* The most that a block which begins in code[0..HL_INSN_PAGE) can weigh, at
 * any of its bytes; code[0..size) is what follows as well.  Never too little;
 * what is certainly light is not told apart.  `room` is for its own use. */
unsigned hl_insn_heaviest(const uint8_t *code, size_t size,
                          uint16_t room[HL_INSN_PAGE]);

#endif
