/* What the host gives a program to see: nodes of its tree, at the start and
 * when a program asks for what was only announced.
 *
 *  G1. A node with a source was announced, and nothing of it is known but
 *      what its folder told.  Before a folder's names or a file's bytes are
 *      needed, the call stops (HL_LINUX_ASKS), and `ask` says which; once
 *      that is given, or refused, the call is served from its beginning.
 *  G2. What is given lies in tracked memory, so a restore takes it back, and
 *      it is asked for again; the bytes of files do not: the caller keeps
 *      them where they are, as they are, as long as the program lives. */
#ifndef HL_ABI_LINUX_GIVEN_H
#define HL_ABI_LINUX_GIVEN_H

#include "abi/linux/process.h"

struct hl_linux_given {
    const char *name; /* no slash, not "." or ".." */
    size_t name_size;
    enum hl_tree_kind kind;
    uint32_t mode;
    uint64_t changed;
    uint64_t size;   /* of a file's bytes that are announced */
    uint32_t source; /* the host's number for it; 0: nothing is announced */
    bool fixed;      /* it and what is in it cannot be changed */
};

/* -ENOSPC; -EEXIST: there is one of that name; -ENOTDIR. */
int hl_linux_give(struct hl_linux *linux_, uint32_t folder,
                  const struct hl_linux_given *given,
                  uint32_t *out) HL_MUST_CHECK;

/* The bytes of a file that is empty, or announced; the text of a link. */
int hl_linux_give_bytes(struct hl_linux *linux_, uint32_t node,
                        const void *bytes, size_t size) HL_MUST_CHECK;

/* Bytes that are the program's own from now on. -ENOSPC. */
int hl_linux_give_copy(struct hl_linux *linux_, uint32_t node,
                       const void *bytes, size_t size) HL_MUST_CHECK;

/* What was asked for has been given; or the call fails with this errno.
 * again: the next call asks for it, too. */
void hl_linux_answer(struct hl_linux *linux_, int err, bool again);

/* G1: 0, HL_LINUX_ASKS, or what it was refused with. */
int hl_linux_need(struct hl_linux *linux_, uint32_t node) HL_MUST_CHECK;

#endif
