/* What a sandbox consists of, for the files of it: sandbox_make.c puts it
 * together, sandbox.c runs it. */
#ifndef HL_SANDBOX_PARTS_H
#define HL_SANDBOX_PARTS_H

#include <stdatomic.h>

#include "sandbox.h"

struct hl_sandbox {
    atomic_size_t refs;
    struct hl_turn turn;
    enum hl_state rest;   /* what it is when the turn is given back */
    bool up;              /* counted as alive */
    atomic_bool released; /* in a child, two threads may close it at once */
    bool ran;             /* the guest did, since the call began */
    bool failed;          /* a run did: the machine is unusable */
    bool reusable;        /* once it is closed, it is at rest: B2 */
    uint64_t deadline;
    struct hl_machine machine;
    struct hl_manager *manager;
    const char *tracked; /* where its memory begins */
    struct hl_abi *abi;
    struct hl_span tables;
    bool adaptive;
};

/* Memory, ABI, machine and manager for a zeroed sandbox whose driver and rest
 * are set.  On error what is there is the caller's to free. */
int hl_sandbox_set_up(struct hl_sandbox *sandbox,
                      const struct hl_sandbox_config *config,
                      struct hl_choice *choice, char *why) HL_MUST_CHECK;

#endif
