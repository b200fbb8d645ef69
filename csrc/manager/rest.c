#include "manager/rest.h"

/* Epochs in which nothing cools down: at first, and at most. */
#define SHORTEST_REST 16
#define LONGEST_REST 40

/* Epochs after cooling in which it can be regretted. */
#define SOON 8

/* What a page costs that is written and not hot, in pages copied: its fault,
 * arming and comparison; and the copies of everything that such pages may cost
 * more than a copy of everything, at most so many of them in one epoch. */
#define COLD_COST 8
#define OVERSPENT 4
#define OVERSPENT_AT_ONCE 2

void hl_rest(struct hl_hot *hot)
{
    size_t longer = hot->rest ? hot->rest * 2 : SHORTEST_REST;

    hot->rest = longer < LONGEST_REST ? longer : LONGEST_REST;
    hot->rest_ends = hot->epoch + hot->rest;
    hot->watched = 0;
    hot->wary = true;
    hot->spent = 0;
}

void hl_rest_if_regretted(struct hl_hot *hot)
{
    if (hot->let_go == 0)
        return;
    if (hot->regretted * 2 > hot->let_go && hot->regretted * 16 > hot->count)
        hl_rest(hot);
    else if (hot->epoch <= hot->cooled_at + SOON)
        return;
    else
        hot->rest = 0;
    hot->let_go = hot->regretted = 0;
}

void hl_rest_if_overspent(struct hl_hot *hot, size_t hot_before)
{
    size_t n = hot->page_count, cost = hot_before + hot->found * COLD_COST;
    size_t more = cost > n ? cost - n : 0, less = cost < n ? n - cost : 0;

    if (more > n * OVERSPENT_AT_ONCE)
        more = n * OVERSPENT_AT_ONCE;
    hot->spent += more;
    hot->spent -= less < hot->spent ? less : hot->spent;
    if (hot->spent > n * OVERSPENT)
        hl_rest(hot);
}
