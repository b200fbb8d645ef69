/* What the parts of the guest runtime share; not for guests. */
#ifndef HL_GUEST_RUNTIME_H
#define HL_GUEST_RUNTIME_H

#include "hyperlight.h"

/* start.S: leave for the host; back with the address of its message. */
const struct hl_message *hl_leave(uint64_t reason);

/* start.S: 0 when `function` returned, 1 when hl_unwind was called in it.
 * One at a time.  Floating-point control words are left alone either way. */
int hl_run(void (*function)(void));
__attribute__((noreturn)) void hl_unwind(void);

/* start.S calls it first, and it does not return. */
__attribute__((noreturn)) void hl_main(const struct hl_guest_info *info);

/* heap.c: take over this zeroed memory. */
void hl_heap_init(void *memory, size_t size);

/* print.c: log what printf has of an unfinished line. */
void hl_print_flush(void);

/* ---- message.c: bytes in the call buffers ---- */

/* A message being built from the start of the output buffer.  Invariant:
 * at <= end, and end is not past the buffer; nothing is written past end. */
struct hl_writer {
    struct hl_message *message;
    char *at, *end;
};

struct hl_writer hl_write_begin(enum hl_message_kind kind,
                                enum hl_type result);
/* False, with nothing written, where it does not fit. */
bool hl_write(struct hl_writer *writer, struct hl_any value);
/* A str, cut between two characters where it does not fit. */
void hl_write_text(struct hl_writer *writer, struct hl_view text);
/* The message is complete: header last, as only now its size is known. */
void hl_write_end(const struct hl_writer *writer);

/* The largest str or bytes that still fits. */
size_t hl_write_room(const struct hl_writer *writer);
/* Bytes that a str or bytes of this size takes behind its struct hl_value. */
size_t hl_padded(size_t size);
/* As much of text as `limit` bytes hold without half a character. */
struct hl_view hl_cut(struct hl_view text, size_t limit);

struct hl_any hl_read(const struct hl_value *value);
const struct hl_value *hl_read_next(const struct hl_value *value);
const char *hl_type_name(unsigned type);

/* ---- runtime.c: the running call ---- */

/* A str or bytes lies in the output buffer, waiting for the call to end. */
bool hl_result_pending(void);
bool hl_call_running(void);
/* hl_fail with a text that is there already and stays. */
__attribute__((noreturn)) void hl_fail_text(int32_t code, struct hl_view text);
/* host.c: hl_log with a text that is there already. */
void hl_log_text(int32_t level, struct hl_view text);

#endif
