/* Bytes, or messages, on their way from one open description to another: what
 * pipes and pairs of sockets are made of.
 *
 *  Q1. All of it is in tracked memory: what is under way lies in a file of the
 *      tree without a name, and a queue that is empty has no pages.
 *  Q2. A call that fails changed nothing; what the guest cannot read or write
 *      itself is not copied (W1).
 *
 * Queues are numbered from 1. */
#ifndef HL_ABI_LINUX_QUEUES_H
#define HL_ABI_LINUX_QUEUES_H

#include "abi/linux/kinds.h"

#define HL_QUEUE_SIZE 65536u
#define HL_QUEUE_AT_ONCE 4096u /* PIPE_BUF */

#define HL_SOCK_STREAM 1u
#define HL_SOCK_DGRAM 2u
#define HL_SOCK_SEQPACKET 5u

/* How something is sent or received: MSG_* of the kernel's. */
#define HL_MSG_PEEK 2u
#define HL_MSG_TRUNC 0x20u
#define HL_MSG_DONTWAIT 0x40u
#define HL_MSG_WAITALL 0x100u
#define HL_MSG_NOSIGNAL 0x4000u

/* A queue of that type, with one reader and one writer.  -ENFILE. */
int hl_queue_new(struct hl_linux *linux_, unsigned type,
                 uint32_t *out) HL_MUST_CHECK;

const struct hl_linux_queue *hl_queue(const struct hl_linux *linux_,
                                      uint64_t queue);

/* Its reader, or its writer, does that no more. */
void hl_queue_end_reading(struct hl_linux *linux_, uint64_t queue);
void hl_queue_end_writing(struct hl_linux *linux_, uint64_t queue);
/* One description less: with the last it goes. */
void hl_queue_drop(struct hl_linux *linux_, uint64_t queue);

/* Bytes that it holds, and that it has room for. */
uint64_t hl_queue_used(const struct hl_linux *linux_, uint64_t queue);
uint64_t hl_queue_room(const struct hl_linux *linux_, uint64_t queue);

/* As many bytes as there is room for, or one message.  -EPIPE, and a signal;
 * -EAGAIN, or HL_LINUX_WAITS; -EMSGSIZE, -EFAULT, -ENOMEM. */
int64_t hl_queue_send(struct hl_linux *linux_, uint64_t queue,
                      const struct hl_linux_piece *pieces, size_t count,
                      unsigned flags) HL_MUST_CHECK;

/* As many bytes as there are, or one message; 0: they have ended.  Of a
 * message that was longer *cut says so; with HL_MSG_TRUNC its length is
 * returned.  -EAGAIN, or HL_LINUX_WAITS; -EFAULT. */
int64_t hl_queue_receive(struct hl_linux *linux_, uint64_t queue,
                         const struct hl_linux_piece *pieces, size_t count,
                         unsigned flags, bool *cut) HL_MUST_CHECK;

#endif
