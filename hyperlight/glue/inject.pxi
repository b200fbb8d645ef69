# csrc/inject: planned failures, for tests.

cdef extern from *:
    """
    #include "inject.h"
    #ifdef HL_FAULT_INJECTION
    #define HL_CAN_FAIL 1
    #else
    #define HL_CAN_FAIL 0
    static inline void hl_inject_plan(int point, unsigned skip, unsigned count)
    {
        (void)point;
        (void)skip;
        (void)count;
    }
    #endif
    """
    bint HL_CAN_FAIL
    cdef enum hl_inject_point:
        HL_INJECT_STORE_ALLOC
        HL_INJECT_NODE_ALLOC
        HL_INJECT_ARM
        HL_INJECT_COLLECT
        HL_INJECT_UNPROTECT
        HL_INJECT_SLICE
        HL_INJECT_THREAD
        HL_INJECT_RUN
        HL_INJECT_TABLE
        HL_INJECT_QUERY
        HL_INJECT_SLAB
        HL_INJECT_HEAT
        HL_INJECT_LINGER
        HL_INJECT_SCAN
        HL_INJECT_RIPE
        HL_INJECT_ROOM
    void HL_LINGER() nogil
    void hl_inject_plan(hl_inject_point point, unsigned skip, unsigned count)

#: True in builds whose allocations and system calls can be made to fail.
CAN_FAIL = bool(HL_CAN_FAIL)

cdef dict inject_points = {
    "store-alloc": HL_INJECT_STORE_ALLOC,
    "node-alloc": HL_INJECT_NODE_ALLOC,
    "arm": HL_INJECT_ARM,
    "collect": HL_INJECT_COLLECT,
    "unprotect": HL_INJECT_UNPROTECT,
    "slice": HL_INJECT_SLICE,
    "thread": HL_INJECT_THREAD,
    "run": HL_INJECT_RUN,
    "table": HL_INJECT_TABLE,
    "query": HL_INJECT_QUERY,
    "slab": HL_INJECT_SLAB,
    "heat": HL_INJECT_HEAT,
    "linger": HL_INJECT_LINGER,
    "scan": HL_INJECT_SCAN,
    "ripe": HL_INJECT_RIPE,
    "room": HL_INJECT_ROOM,
}


def plan_failure(str point not None, unsigned skip=0, unsigned count=1):
    """Make `count` passes of a point fail after `skip` more; tests only."""
    if not HL_CAN_FAIL:
        raise RuntimeError("built without fault injection")
    hl_inject_plan(inject_points[point], skip, count)
