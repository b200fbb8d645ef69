/* Messages between host and guest (guest/abi.h): the only code that reads or
 * writes call buffers.
 *
 * The guest is the enemy.  A reader copies each header once and then looks at
 * its copy; a payload is for the caller to copy, once, before it looks at it.
 * Whatever a buffer holds, and even if it changes meanwhile, nothing outside
 * of it is read, and the work is bounded by its size.
 *
 * Nothing here allocates or locks. */
#ifndef HL_ABI_NATIVE_WIRE_H
#define HL_ABI_NATIVE_WIRE_H

#include "base.h"
#include "guest/abi.h"

struct hl_wire_writer {
    char *start, *at, *end;
    uint32_t count;
};

/* Begin a message in buffer[0..size). */
void hl_wire_begin(struct hl_wire_writer *w, void *buffer, size_t size);

/* Add a number, or -ENOSPC. */
int hl_wire_put(struct hl_wire_writer *w, enum hl_type type,
                uint64_t bits) HL_MUST_CHECK;

/* Add a str or bytes of `size` bytes, which the caller copies to the address
 * returned; NULL: no room. */
void *hl_wire_put_room(struct hl_wire_writer *w, enum hl_type type,
                       size_t size);

/* Add what was written by other means: whole values, or -ENOSPC. */
int hl_wire_put_raw(struct hl_wire_writer *w, const void *values, size_t size,
                    uint32_t count) HL_MUST_CHECK;

/* Write the header; returns the message's size.  -ENOSPC: there was no room
 * for one. */
ssize_t hl_wire_end(struct hl_wire_writer *w, enum hl_message_kind kind,
                    enum hl_type result) HL_MUST_CHECK;

struct hl_wire_reader {
    const char *at, *end;
    uint32_t kind, left, result; /* left: values not yet read */
    const char *wrong;           /* what was, after an error */
};

struct hl_wire_value {
    enum hl_type type;
    uint64_t bits;    /* for str and bytes the length */
    const char *data; /* of those: still the guest's memory */
};

/* Read the header of the message in buffer[0..size), or -EPROTO. */
int hl_wire_open(struct hl_wire_reader *r, const void *buffer,
                 size_t size) HL_MUST_CHECK;

/* The next value; -EPROTO where it is none, or there are no more. */
int hl_wire_next(struct hl_wire_reader *r,
                 struct hl_wire_value *value) HL_MUST_CHECK;

/* -EPROTO unless everything was read. */
int hl_wire_close(struct hl_wire_reader *r) HL_MUST_CHECK;

#endif
