/* What the tests of stores and snapshots share. */
#ifndef HL_TESTS_STORES_H
#define HL_TESTS_STORES_H

#include "check.h"
#include "os/memory.h"
#include "snapshot/apply.h"

#define PAGE hl_page_size()

static inline struct hl_store *new_store(void)
{
    struct hl_store *store;
    CHECK(hl_store_new(&store, PAGE) == 0);
    return store;
}

static inline struct hl_store_usage usage_of(struct hl_store *store)
{
    struct hl_store_usage usage;
    hl_store_usage(store, &usage);
    return usage;
}

static inline void check_nothing_alive(void)
{
    size_t snapshots, stores;
    hl_snapshot_counts(&snapshots, &stores);
    CHECK(snapshots == 0 && stores == 0);
}

/* A snapshot of all of `memory`, as a manager makes it. */
static inline int take(struct hl_store *store, const struct hl_snapshot *base,
                       const char *memory, size_t pages,
                       struct hl_snapshot **out)
{
    struct hl_capture capture = {0};
    struct hl_run all = {0, pages};
    int err = hl_capture_run(&capture, store, base, memory, all);
    if (err == 0)
        err = hl_snapshot_new(store, pages, base, capture.edits, capture.count,
                              out);
    if (err < 0)
        hl_capture_discard(&capture, store);
    else
        hl_capture_free(&capture);
    return err;
}

#endif
