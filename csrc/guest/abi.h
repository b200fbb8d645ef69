/* The interface between host and guest; for C and assembler on both sides.
 *
 * A guest is entered at its ELF entry point with RDI holding the address of a
 * struct hl_guest_info, RSP 8 below a multiple of 16 as after a call, and FS
 * base the end of its thread-local storage: a block whose first word points to
 * itself and whose canary lies at 0x28.  It leaves by `out %al` to
 * HL_PORT_GUEST with a reason in RAX.  When it is run again it continues after
 * that instruction, with the address of a message, if any, in RAX and all
 * other registers unchanged.
 *
 *  A1. After HL_LEAVE_READY comes a call: a message in the input buffer.  The
 *      first HL_LEAVE_READY follows init, with a message of kind
 *      HL_MESSAGE_FUNCTIONS in the output buffer; each later one ends a call,
 *      with a result or an error there.
 *  A2. After HL_LEAVE_HOST_CALL, with the call in the output buffer, comes a
 *      result or an error: a message in the input buffer behind that of the
 *      call, which stays valid until the call ends.  The reply is valid until
 *      the next host call.
 *  A3. HL_LEAVE_LOG leaves a line in the output buffer, HL_LEAVE_ABORT a last
 *      word in a message of kind HL_MESSAGE_ERROR; no message comes back, and
 *      after an abort nothing does.
 *
 * The host trusts nothing that a guest wrote: it copies once, then checks. */
#ifndef HL_GUEST_ABI_H
#define HL_GUEST_ABI_H

#define HL_PORT_GUEST 0x48

#define HL_LEAVE_READY 1
#define HL_LEAVE_HOST_CALL 2
#define HL_LEAVE_LOG 3
#define HL_LEAVE_ABORT 4

#define HL_ABI_VERSION 1
#define HL_INFO_MAGIC 0x6f666e69676c7968 /* "hylginfo" */
#define HL_MESSAGE_MAGIC 0x67736d6c      /* "lmsg" */

#ifndef __ASSEMBLER__

#include <stdint.h>

/* The guest's to keep: the host writes it once and never reads it. */
struct hl_guest_info {
    uint64_t magic;
    uint32_t version;
    uint32_t reserved;
    uint64_t heap, heap_size;
    uint64_t input, input_size; /* read-only for the guest */
    uint64_t output, output_size;
    uint64_t stack, stack_size;
};

enum hl_message_kind {
    HL_MESSAGE_CALL = 1,  /* name (str), arguments; of either side */
    HL_MESSAGE_RESULT,    /* one value */
    HL_MESSAGE_ERROR,     /* code (i32), text (str) */
    HL_MESSAGE_LOG,       /* level (i32, as Python's logging has them), text */
    HL_MESSAGE_FUNCTIONS, /* a str each: "name(type, ...) -> type" */
};

/* Codes of HL_MESSAGE_ERROR; a guest's own begin at HL_ERROR_USER. */
enum hl_error_code {
    HL_ERROR_GUEST = 1,   /* the function failed */
    HL_ERROR_NO_FUNCTION, /* nothing has that name */
    HL_ERROR_ARGUMENTS,   /* not the arguments it takes */
    HL_ERROR_MEMORY,      /* out of memory in the guest */
    HL_ERROR_HOST,        /* the host function failed */
    HL_ERROR_TOO_LARGE,   /* a message that fits no buffer */
    HL_ERROR_USER = 1000
};

/* In signatures: none int32 int64 uint32 uint64 float double bool str bytes.
 */
enum hl_type {
    HL_NONE,
    HL_I32,
    HL_I64,
    HL_U32,
    HL_U64,
    HL_F32,
    HL_F64,
    HL_BOOL,
    HL_STR, /* UTF-8, no terminator */
    HL_BYTES,
    HL_TYPES
};

/* A message is this, and then `count` values one behind the other; all of it
 * little-endian and in units of 8 bytes. */
struct hl_message {
    uint32_t magic;
    uint32_t kind;
    uint64_t size;   /* bytes, this included */
    uint32_t count;  /* values */
    uint32_t result; /* of a call: the enum hl_type that is wanted back */
};

/* bits: the number (integers sign- or zero-extended, f32 in the low half, bool
 * 0 or 1); for str and bytes the length, and that many bytes follow, padded
 * with zeros to a multiple of 8. */
struct hl_value {
    uint32_t type;
    uint32_t reserved;
    uint64_t bits;
};

_Static_assert(sizeof(struct hl_guest_info) == 80, "part of the ABI");
_Static_assert(sizeof(struct hl_message) == 24, "part of the ABI");
_Static_assert(sizeof(struct hl_value) == 16, "part of the ABI");

#endif
#endif
