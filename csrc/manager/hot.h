/* Hot pages: written in nearly every epoch, so that copying them back each
 * time is cheaper than arming them, taking the fault and finding them again.
 *
 * A page heats up when it is dirty in consecutive epochs, and is hot from
 * HL_HOT_AT on: its manager leaves it unarmed, and it always counts as dirty.
 * In each epoch a sample of the hot pages is compared with the snapshot; a
 * page found unchanged twice cools down and is armed again.  If a quarter of
 * the sample is unchanged, the workload has moved on: then all hot pages are
 * compared until a smaller part is unchanged.  Pages cool down together, since
 * arming a part of a huge page splits it.
 *
 * When so few pages are still armed that asking the tracker about them costs
 * more than copying them, they become hot as well.
 *
 * If many of the pages that cooled down become hot again soon (other pages are
 * written in each epoch, or the kernel refuses to arm further ones), that was
 * a mistake: nothing cools down for a while, which gets longer each time, and
 * after it only once a part of the hot pages was watched, and stayed quiet.
 *
 * If pages that are not hot are written so often that copying everything would
 * have cost less, though none in three epochs in a row, it is the same:
 * nothing cools down for a while, and all that is dirty meanwhile becomes hot.
 *
 * This is only advice: no decision made here can lose a write.  hot.c draws
 * the states of a page, and says what each number is for. */
#ifndef HL_MANAGER_HOT_H
#define HL_MANAGER_HOT_H

#include "base.h"
#include "mem/pages.h"

#define HL_HOT_AT 3

struct hl_hot {
    size_t page_count;
    size_t worth; /* fewer armed pages are not worth asking about */
    size_t count; /* hot pages */
    struct hl_pages pages;
    uint8_t *heat; /* per page, up to HL_HOT_AT, and whether it cooled down;
                      NULL: no page was ever dirty, or there is no memory */
    uint8_t *seen; /* per page: low bits of the epoch it was dirty in */
    size_t epoch;
    unsigned period;        /* one in so many words of `pages` is sampled */
    size_t sampled, cooled; /* in this epoch */
    size_t let_go; /* cooled down lately, and it is not known whether well */
    size_t regretted;       /* of those, cooled down too early: hot again */
    size_t rest, rest_ends; /* how long nothing cools down, and until when */
    size_t cooled_at;       /* the epoch in which the first of them did */
    size_t found;           /* pages not hot that were dirty in this epoch */
    size_t spent;           /* more on such pages, of late, than on copying
                               everything; in pages copied */
    bool wary;              /* nothing cools down that was not watched */
    unsigned watched;       /* epochs that the same sample was watched; 0: it
                               is not */
    size_t phase;           /* which sample */
    size_t quiet;           /* pages of it that were quiet in the first half */
};

/* worth: asking the tracker costs about what copying so many pages does. */
int hl_hot_init(struct hl_hot *hot, size_t page_count,
                size_t worth) HL_MUST_CHECK;
void hl_hot_free(struct hl_hot *hot);
void hl_hot_reset(struct hl_hot *hot);

/* A new epoch, in which these pages were found dirty. */
void hl_hot_epoch(struct hl_hot *hot, const struct hl_pages *dirty);

/* These are hot at once, because it was cheaper to leave them unarmed. */
void hl_hot_add(struct hl_hot *hot, const struct hl_pages *pages);

/* The next word of `pages` at or after *cursor whose hot pages are to be
 * looked at in this epoch, or false; and what was found for one of them. */
bool hl_hot_sample(const struct hl_hot *hot, size_t *cursor, size_t *word);
void hl_hot_looked(struct hl_hot *hot, size_t page, bool written);

/* Given that all pages are hot: will nothing be sampled in the next epoch? */
bool hl_hot_rests(const struct hl_hot *hot);

/* All of this epoch's sample was looked at. */
void hl_hot_settle(struct hl_hot *hot);

#endif
