/* The last step of a take or a restore: huge pages that tracking split are
 * made whole again, where that is worth it (split.h).  region.c alone uses it,
 * under the region's thread rule. */
#ifndef HL_MANAGER_HEAL_H
#define HL_MANAGER_HEAL_H

#include "manager/region.h"

/* Once memory equals `current`, but for what the tracker reports and `pending`
 * has (M1).  Cannot fail: what cannot be made whole stays as it is. */
void hl_region_heal(struct hl_region *r);

#endif
