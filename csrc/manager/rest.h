/* After which mistakes hot pages rest: nothing cools down for a while, and
 * what is dirty meanwhile becomes hot at once.  A rest is twice as long as the
 * last one, up to a limit, and after it pages are watched before any cools
 * down. hot.c alone uses it, and says what each number is for. */
#ifndef HL_MANAGER_REST_H
#define HL_MANAGER_REST_H

#include "manager/hot.h"

void hl_rest(struct hl_hot *hot);

/* Was it right to let pages cool down?  If most of them were soon hot again,
 * it rests; if not, the next rest is a short one. */
void hl_rest_if_regretted(struct hl_hot *hot);

/* Were pages that are not hot written so much lately that it would have cost
 * less to copy everything?  No page need be written in each epoch for that.
 * hot_before: pages that were hot when they were. */
void hl_rest_if_overspent(struct hl_hot *hot, size_t hot_before);

#endif
