/* The table of regions whose faults are ours: for fault.c, which changes it,
 * and for the system's handler, which looks faults up in it. */
#ifndef HL_TRACK_REGIONS_H
#define HL_TRACK_REGIONS_H

#include "base.h"
#include "track/fault.h"

/* Is there a region of this signal at addr, and did it open the page?  For the
 * handler; async-signal-safe. */
bool hl_regions_serve(int signal, uintptr_t addr);

/* The rest is called with the lock of fault.c held.  Adding allocates what
 * removing needs; when either returns, no handler reads the table as it was.
 */
int hl_regions_add(struct hl_fault_region *region) HL_MUST_CHECK;
void hl_regions_remove(struct hl_fault_region *region);

#endif
