/* What the files of the SDK share; not for guests.
 *
 * They stand in floors: a file calls what is on a lower floor, or left of it
 * on its own, so that there is no circle.  tests/test_layers.py checks it.
 *
 *      calls     call.c       start.S
 *      printing  print.c      files.c      fortify.c    scan.c
 *      library   glibc.c      lib.c        result.c     host.c
 *                calendar.c
 *      heap      heap.c
 *      log, end  log.c        stream.c     end.c
 *      messages  message.c    sink.c       float.c      format.c
 *      bytes     mem.c        str.c        errno.c      math.c
 *                ifunc.c      leave.S
 *
 * One call goes up without being written anywhere: the compiler calls
 * __stack_chk_fail (end.c) from every function that has an array.  It does not
 * return.
 *
 *  R1. Only message.c, result.c and log.c write to the output buffer, apart
 *      from a function that has hl_return_buffer's leave.
 *  R2. A result of type str or bytes lies in the output buffer from hl_return
 *      on.  Until the call ends, a host call is refused, and a log line puts
 *      back what it covered.
 *  R3. An error leaves by hl_unwind and is written behind it: what was in the
 *      output buffer does not matter then. */
#ifndef HL_GUEST_INTERNAL_H
#define HL_GUEST_INTERNAL_H

#include <stdarg.h>

#include "hyperlight.h"

/* For what every call writes: it lies on one page, as each page written is one
 * that every restore copies.  Zero at first. */
#define HL_EACH_CALL __attribute__((section(".bss.hl_each_call")))

/* ---- leave.S ---- */

/* Leave for the host; back with the address of its message. */
const struct hl_message *hl_leave(uint64_t reason);

/* 0 when `function` returned, 1 when hl_unwind was called in it.  One at a
 * time.  Floating-point control words are left alone either way. */
int hl_run(void (*function)(void));
__attribute__((noreturn)) void hl_unwind(void);

/* ---- ifunc.c ---- */

/* Before any call of a function that has several versions, such as most of
 * libm's. */
void hl_choose_ifuncs(void);

/* ---- message.c: bytes in the call buffers ---- */

/* First of all: what hl_guest_info returns, and so where the buffers are. */
void hl_message_init(const struct hl_guest_info *info);

/* Whether a str or bytes lies in the output buffer, waiting for the call to
 * end (R2). */
void hl_output_hold(bool held);
bool hl_output_held(void);

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
bool hl_type_has_bytes(enum hl_type type);

/* ---- log.c ---- */

/* hl_log with a text that is there already. */
void hl_log_text(int32_t level, struct hl_view text);
/* At most HL_TEXT_SIZE bytes, which lie there until the next such text. */
struct hl_view hl_format_text(const char *format, va_list args);

/* ---- stream.c: lines of stdout and stderr that are not complete ---- */

struct hl_stream;
/* Log the lines that end in these bytes, and keep the rest.  False, with
 * nothing logged and errno and ferror() set: this is stdin. */
bool hl_stream_write(struct hl_stream *stream, const char *data, size_t size);
/* Somebody wants to read, and gets nothing: from now on that is the end or, of
 * stdout and stderr, an error with its errno. */
void hl_stream_read(struct hl_stream *stream);
/* Log what is there of both streams' unfinished lines. */
void hl_streams_flush(void);

/* ---- end.c ---- */

/* Run `function`, where hl_fail ends only this run: false if it did, and then
 * hl_write_failure builds the message that says so. */
bool hl_run_call(void (*function)(void));
void hl_write_failure(void);
bool hl_call_running(void);
/* hl_fail with a text that is there already and stays. */
__attribute__((noreturn)) void hl_fail_text(int32_t code, struct hl_view text);

/* ---- heap.c ---- */

/* Take over this zeroed memory. */
void hl_heap_init(void *memory, size_t size);

/* ---- result.c: arguments and result of the running call ---- */

/* call.c fills in all but the result, which hl_return sets. */
struct hl_running {
    const struct hl_export *function; /* NULL: no call is running */
    const struct hl_value *args[HL_MAX_ARGS];
    bool returned;
    struct hl_any result; /* of str and bytes the view in the output buffer */
};

extern struct hl_running hl_running;

/* The running function's name, for "%.*s". */
#define HL_RUNNING_NAME                                                       \
    (int)hl_running.function->name_size, hl_running.function->signature

/* ---- call.c ---- */

/* start.S calls it first, and it does not return. */
__attribute__((noreturn)) void hl_main(const struct hl_guest_info *info);

#endif
