/* A call's messages: where they lie, and what each must hold (guest/abi.h says
 * which comes when).
 *
 *  C1. The call lies at the start of the input buffer until it has ended; what
 *      is said to the guest meanwhile lies behind it, for which calls leave
 *      HL_REPLY_ROOM bytes.
 *  C2. A message that the guest left is parsed once, a value at a time, and
 *      each value is one that this kind of message has there.  The guest is
 *      the enemy: see wire.h.
 *  C3. When the guest runs, every byte of the input buffer behind the message
 *      that was sent last is zero.  `used` counts what may not be, also after
 *      a message that was never finished or sent.
 *
 * Threads: those of the sandbox's turn. */
#ifndef HL_ABI_NATIVE_CALL_H
#define HL_ABI_NATIVE_CALL_H

#include "abi/native/wire.h"
#include "base.h"

#define HL_REPLY_ROOM ((size_t)4096)

struct hl_call {
    char *input;
    const char *output;
    size_t input_size, output_size;
    size_t size;          /* of the call's own message */
    size_t message, sent; /* the last message: where it begins and ends */
    size_t used;          /* C3 */
    bool pinned;          /* the input's pages must not be dropped */
    struct hl_wire_writer writer;
    struct hl_wire_reader reader;
    enum hl_message_kind kind; /* being read */
    enum hl_type result;       /* that a result must have */
    uint32_t count;            /* values read so far */
    const char *wrong;         /* what was, after -EPROTO */
};

/* The buffers must outlive it; the input buffer is zero. */
void hl_call_init(struct hl_call *call, void *input, size_t input_size,
                  const void *output, size_t output_size);

/* Nothing is called: the guest starts. */
void hl_call_nothing(struct hl_call *call);

/* Begin to write a call of the function whose name is this value, encoded; the
 * arguments go into `writer`, and then the message is ended.  -ENOSPC. */
int hl_call_begin(struct hl_call *call, const void *name,
                  size_t size) HL_MUST_CHECK;
int hl_call_end(struct hl_call *call) HL_MUST_CHECK;

/* Begin to write a reply into `writer`; and end it.  -ENOSPC. */
void hl_call_reply(struct hl_call *call);
int hl_call_replied(struct hl_call *call,
                    enum hl_message_kind kind) HL_MUST_CHECK;

/* The guest is about to run (C3); returns at which byte of the input buffer
 * its message begins. */
size_t hl_call_send(struct hl_call *call);

/* Read the message that the guest left, which must be of this kind; then a
 * value at a time: 1, or 0 where there are no more, and the message was whole.
 * -EPROTO, and `wrong` says what was. */
int hl_call_open(struct hl_call *call,
                 enum hl_message_kind kind) HL_MUST_CHECK;
int hl_call_next(struct hl_call *call,
                 struct hl_wire_value *value) HL_MUST_CHECK;

/* The same for what ends a call: a result of this type, or an error; `kind`
 * says which it is. */
int hl_call_open_result(struct hl_call *call, enum hl_type type) HL_MUST_CHECK;

#endif
