# The registries, and which tracker it is.

ASKED_FOR = <int>HL_ASKED_FOR
FIRST_CHOICE = <int>HL_FIRST_CHOICE
NEXT_CHOICE = <int>HL_NEXT_CHOICE
TOLD = <int>HL_TOLD


cdef tuple tracker_row(const hl_tracker_ops *ops, driver):
    return (ops.name.decode(), driver, bool(ops.kernel_writes),
            bool(ops.arms), bool(ops.uses_signal), bool(ops.splits_mappings))


cdef tuple driver_row(const hl_driver_ops *ops):
    return (ops.name.decode(),
            None if ops.device == NULL else ops.device.decode(),
            bool(ops.is_boundary), bool(ops.host_sees_writes),
            bool(ops.pins_memory), bool(ops.is_unseen),
            bool(ops.is_elsewhere))


#: As hyperlight.registry.Driver, in order of preference.
DRIVERS = tuple(driver_row(hl_drivers[i]) for i in range(hl_driver_count))

#: As hyperlight.registry.Tracker: this process's, and then the drivers', each
#: in order of preference.
TRACKERS = tuple(
    tracker_row(hl_trackers[i], None) for i in range(hl_tracker_count)
) + tuple(
    tracker_row(hl_drivers[i].trackers[j].ops, hl_drivers[i].name.decode())
    for i in range(hl_driver_count)
    for j in range(hl_drivers[i].tracker_count))


#: Names of the guest ABIs whose functions can be called, in the order in which
#: a file is offered to them.
ABIS = tuple(hl_abis[i].name.decode() for i in range(hl_abi_count)
             if hl_abis[i].messages != NULL)


cdef const hl_driver_ops *find_driver(str name) except NULL:
    cdef const hl_driver_ops *ops = hl_driver_find(name.encode())
    if ops == NULL:
        raise ValueError(f"no driver is called {name!r}")
    return ops


cdef object probe_machine(const hl_driver_ops *ops,
                          const hl_vm_tracker *tracker):
    cdef char why[HL_WHY_SIZE]
    cdef int rc
    why[0] = 0
    with nogil:
        rc = hl_driver_try(ops, tracker, why)
    if rc >= 0:
        return None
    reason = why.decode("utf-8", "replace")
    # What is lacking now says nothing of the host.
    if rc in (-EMFILE, -ENFILE, -EAGAIN, -EINTR):
        raise OSError(-rc, f"driver {ops.name.decode()}: {reason}")
    return reason


def probe_driver(str name not None):
    """Make a machine and run an instruction: None, or why that failed."""
    return probe_machine(find_driver(name), NULL)


def probe_tracker(str name not None, driver=None):
    """Try a tracker on memory or a machine of its own.

    Returns None, or why it cannot be used.  driver: the name of that whose
    own it is.
    """
    cdef char why[HL_WHY_SIZE]
    cdef const hl_driver_ops *machine
    cdef const hl_tracker_ops *ops
    cdef int rc
    if driver is not None:
        machine = find_driver(driver)
        for i in range(machine.tracker_count):
            if machine.trackers[i].ops.name == name.encode():
                return probe_machine(machine, &machine.trackers[i])
        raise ValueError(f"no tracker of {driver} is called {name!r}")
    ops = find_tracker(name)
    why[0] = 0
    with nogil:
        rc = ops.probe(why)
    return None if rc >= 0 else why.decode()


def candidates(driver, size_t page_count):
    """Names of the trackers that may do, in the order of trying them.

    driver: whose guest writes to those pages; None: this process does.
    """
    cdef hl_candidate found[HL_CANDIDATES]
    cdef hl_wish wish
    memset(&wish, 0, sizeof(wish))
    wish.page_count = page_count
    if driver is not None:
        wish.driver = find_driver(driver)
    return tuple([c.ops.name.decode()
                  for c in found[:hl_candidates(&wish, found)]])


cdef dict passed_over(hl_choice *choice):
    """Names of those tried in vain, and why."""
    return {p.name.decode(): p.why.decode("utf-8", "replace")
            for p in choice.passed[:choice.passed_count]}


cdef int refuse_tracker(hl_choice *choice, tracker, str why) except -1:
    """Raise what a choice of none, or one that ended in an error, means."""
    reasons = dict.fromkeys(passed_over(choice).values()) or (why,)
    raise TrackerUnavailable(tracker or "auto", "; ".join(reasons))
