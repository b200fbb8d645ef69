# csrc/manager.

cdef extern from "manager/region.h" nogil:
    struct hl_region_stats:
        size_t takes, restores, stored, copied, zeroed
        size_t raced, guesses, reopened, collapsed, expected, widened

cdef extern from "manager/manager.h" nogil:
    struct hl_manager:
        pass
    hl_manager *hl_manager_ref(hl_manager *manager)
    void hl_manager_unref(hl_manager *manager)
    bint hl_manager_ended(const hl_manager *manager)
    void hl_manager_expect(hl_manager *manager, hl_run run)
    struct hl_mirror:
        void **current
        void *new_current
        void **top
        void *old_top
        void *new_top
    struct hl_done:
        hl_applied applied
        const char *tracker
    struct hl_manager_stats_t "hl_manager_stats":
        const char *tracker
        size_t pages, hot
        hl_region_stats counts
        hl_store_usage store
    int hl_manager_begin_with(void *memory, size_t page_count, bint borrowed,
                              const char *tracker, bint adaptive,
                              hl_manager **out, hl_choice *choice, char *why)
    void hl_manager_settle(hl_manager *manager)
    bint hl_manager_close(hl_manager *manager, hl_mirror *mirror)
    const char *hl_manager_tracker(const hl_manager *manager)
    int hl_manager_take_as(hl_manager *manager, hl_snapshot **out,
                           hl_mirror *mirror)
    int hl_manager_restore_as(hl_manager *manager, hl_snapshot *snapshot,
                              hl_mirror *mirror, hl_done *done)
    int hl_manager_dirty(hl_manager *manager, uint64_t *bits)
    int hl_manager_changed(hl_manager *manager, const hl_snapshot *snapshot,
                           uint64_t *bits)
    int hl_manager_differing(hl_manager *manager, const hl_snapshot *snapshot,
                             uint64_t *bits)
    ssize_t hl_manager_verify(hl_manager *manager,
                              const hl_snapshot *snapshot, uint64_t *missed)
    int hl_manager_stats(hl_manager *manager, hl_manager_stats_t *stats)
    size_t hl_manager_page_count(const hl_manager *manager)
    size_t hl_manager_count()
