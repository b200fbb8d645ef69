# csrc/snapshot.

cdef extern from "snapshot/snapshot.h" nogil:
    struct hl_snapshot:
        pass
    void hl_snapshot_unref(hl_snapshot *snapshot)
    size_t hl_snapshot_page_count(const hl_snapshot *snapshot)
    void hl_snapshot_diff(const hl_snapshot *a, const hl_snapshot *b,
                          hl_pages *found)
    void hl_snapshot_diff_exact(const hl_snapshot *a, const hl_snapshot *b,
                                hl_pages *found)
    size_t hl_snapshot_nbytes(const hl_snapshot *snapshot)
    void hl_snapshot_read(const hl_snapshot *snapshot, size_t offset,
                          size_t length, void *dst)
    void hl_snapshot_counts(size_t *snapshots, size_t *stores)

cdef extern from "snapshot/store.h" nogil:
    struct hl_store_usage:
        size_t pages
        size_t nodes
        size_t bytes
        size_t reserved

cdef extern from "snapshot/apply.h" nogil:
    struct hl_applied:
        size_t copied
        size_t zeroed
