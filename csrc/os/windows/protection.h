/* The protection of a page as Windows has it: one word of eight, and marks. */
#ifndef HL_OS_WINDOWS_PROTECTION_H
#define HL_OS_WINDOWS_PROTECTION_H

#include <windows.h>

#include "os/vma.h"

/* What may be done, enum hl_prot.  A page with a mark that makes the first
 * touch fail (PAGE_GUARD) is closed.  Async-signal-safe. */
static inline unsigned hl_protection_rights(DWORD protect)
{
    const unsigned read = HL_PROT_READ, write = read | HL_PROT_WRITE;

    if (protect & PAGE_GUARD)
        return 0;
    switch (protect & 0xff) {
    case PAGE_READONLY:
        return read;
    case PAGE_READWRITE:
    case PAGE_WRITECOPY:
        return write;
    case PAGE_EXECUTE:
        return HL_PROT_EXEC;
    case PAGE_EXECUTE_READ:
        return read | HL_PROT_EXEC;
    case PAGE_EXECUTE_READWRITE:
    case PAGE_EXECUTE_WRITECOPY:
        return write | HL_PROT_EXEC;
    default:
        return 0;
    }
}

#endif
