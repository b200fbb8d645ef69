# Counts since a manager was made; what is alive in this process.


cdef dict stats_of(hl_manager *manager):
    cdef hl_manager_stats_t s
    cdef int rc
    with nogil:
        rc = hl_manager_stats(manager, &s)
    if rc == -EBADF:
        raise ValueError("operation on a closed SnapshotManager")
    check(rc, "stats")
    return {
        "tracker": s.tracker.decode(),
        "pages": s.pages,
        "hot_pages": s.hot,
        "takes": s.counts.takes,
        "restores": s.counts.restores,
        "pages_stored": s.counts.stored,
        "pages_copied": s.counts.copied,
        "pages_zeroed": s.counts.zeroed,
        "pages_raced": s.counts.raced,
        "guesses": s.counts.guesses,
        "reopened": s.counts.reopened,
        "collapsed": s.counts.collapsed,
        "pages_expected": s.counts.expected,
        "store_pages": s.store.pages,
        "store_nodes": s.store.nodes,
        "store_bytes": s.store.bytes,
        "store_reserved": s.store.reserved,
    }


def counts():
    """What is alive in this process, for leak tests."""
    cdef size_t snapshots, stores
    hl_snapshot_counts(&snapshots, &stores)
    return {
        "mappings": hl_map_count(),
        "ranges": hl_range_count(),
        "managers": hl_manager_count(),
        "snapshots": snapshots,
        "stores": stores,
        "sandboxes": hl_sandbox_count(),
    }
