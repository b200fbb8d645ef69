/* What the ESR record of an arm64 signal frame says of a fault.
 *
 * The kernel stores records (magic, size, data) one after the other in the
 * frame's reserved space: floating-point registers, then, if the processor
 * reported a fault, the exception syndrome (ESR), then what newer processors
 * have.  Linux writes it for every fault of user code; an emulator of user
 * programs may not (QEMU 7.2 does not).
 *
 * Pure: everything here can be tested on any machine. */
#ifndef HL_TRACK_LINUX_ESR_H
#define HL_TRACK_LINUX_ESR_H

#include <string.h>

#include "base.h"

#define HL_ESR_MAGIC 0x45535201u

/* Find the record in [records, +size).  False where there is none: the list
 * ended, or is damaged.  Reads nothing outside of it. */
static inline bool hl_esr_find(const void *records, size_t size, uint64_t *esr)
{
    const char *at = records;
    uint32_t head[2]; /* magic, size with the head; both 0 at the end */

    while (size >= sizeof head) {
        memcpy(head, at, sizeof head);
        if (head[1] < sizeof head || head[1] > size)
            return false;
        if (head[0] == HL_ESR_MAGIC && head[1] >= sizeof head + sizeof *esr) {
            memcpy(esr, at + sizeof head, sizeof *esr);
            return true;
        }
        at += head[1];
        size -= head[1];
    }
    return false;
}

/* A data abort taken from user code (exception class 0x24), by a store: WnR
 * (bit 6) without CM (bit 8), which cache maintenance sets beside it though it
 * only needs to read (Arm ARM D17.2.37). */
static inline bool hl_esr_is_write(uint64_t esr)
{
    return (esr >> 26 & 0x3f) == 0x24 && (esr & 1u << 6) && !(esr & 1u << 8);
}

/* A permission fault, of any level: there was a page. */
static inline bool hl_esr_is_present(uint64_t esr)
{
    return (esr & 0x3c) == 0x0c;
}

#endif
