# A guest in its machine: how it is made and freed.


cdef hl_span span_of(span) except *:
    addr, size = span
    return hl_span(addr, size)


cdef size_t fill_slots(hl_machine_slot *into, slots) except? 0:
    cdef size_t n = 0
    if len(slots) > HL_VM_SLOTS:
        raise ValueError(f"{len(slots)} slots are too many")
    for addr, size, logged in slots:
        into[n] = hl_machine_slot(addr, size, logged)
        n += 1
    return n


cdef int fill_plan(hl_sandbox_config *c, ImageCore image, base, slots,
                   regions, spans) except -1:
    """What guests of all ABIs have."""
    c.slot_count = fill_slots(c.slots, slots)
    c.region_count = fill_regions(c.regions, regions)
    c.tables = span_of(spans["tables"])
    c.guest.stack = span_of(spans["stack"])
    c.guest.heap = span_of(spans["heap"])
    c.guest.image = hl_image(PyBytes_AS_STRING(image.file),
                             len(image.file), &image.elf, base)
    return 0


@cython.no_gc_clear  # the guest must not outlive what it runs in
cdef class SandboxOwner:
    """A guest and its machine.

    Any thread may call anything.  What needs the guest to stand still takes
    the turn (csrc/turn.h) and gives it back before it returns, with no Python
    code in between but what a call is about; other threads wait for it.
    `token` is the caller's: see `face`.
    """

    cdef hl_sandbox *sandbox
    cdef hl_exit left
    cdef size_t state_size
    #: Whose Python runs in the middle of a call, for an error's words.
    cdef public str inside
    #: A token of whose it is, and one of what is being made of it, or None.
    #: Who enters says his; a call that waited while it went to somebody else
    #: is refused.
    cdef public object face
    cdef readonly object making
    cdef readonly size_t page_count
    #: Name of the tracker in use.
    cdef readonly str tracker
    #: Why that one.
    cdef readonly int because
    #: What was tried before: name, reason.
    cdef readonly dict passed_over
    #: Name of what the guest speaks.
    cdef readonly str abi
    #: The SnapshotCore that the sandbox equalled at the last take or restore.
    cdef readonly SnapshotCore current

    cdef int _make(self, hl_sandbox_config *c, str driver, str tracker,
                   str abi, bint adaptive) except -1:
        """Load the guest, for which the rest of the config is filled in."""
        cdef char why[HL_WHY_SIZE]
        cdef hl_choice choice
        cdef bytes tracker_name, abi_name
        cdef int rc
        if self.sandbox != NULL:
            raise ValueError("this sandbox is already set up")
        c.driver = find_driver(driver)
        if tracker is not None:
            tracker_name = tracker.encode()
            c.tracker = tracker_name
        if abi is not None:
            abi_name = abi.encode()
            c.abi = abi_name
        c.adaptive = adaptive
        why[0] = 0
        with nogil:
            rc = hl_sandbox_new(c, &self.sandbox, &choice, why)
        if rc < 0:
            refuse_sandbox(rc, driver, tracker, &choice,
                           why.decode("utf-8", "replace"))
        self.abi = hl_sandbox_abi(self.sandbox).ops.name.decode()
        self.state_size = hl_sandbox_state_size(self.sandbox)
        self.because = choice.because
        self.passed_over = passed_over(&choice)
        self.page_count = hl_manager_page_count(
            hl_sandbox_manager(self.sandbox))
        self.tracker = hl_manager_tracker(
            hl_sandbox_manager(self.sandbox)).decode()
        return 0

    def __dealloc__(self):
        cdef hl_sandbox *sandbox = self.sandbox
        self.sandbox = NULL
        if sandbox != NULL:
            with nogil:  # nobody else has heard of this object any more
                hl_sandbox_unref(sandbox)


cdef int refuse_sandbox(int rc, str driver, str tracker, hl_choice *choice,
                        str what) except -1:
    if rc == -EINVAL:
        raise ValueError(what)
    if rc == -ENOMEM:
        raise MemoryError(f"sandbox: {what}")
    if rc in (-EMFILE, -ENFILE, -EAGAIN):
        raise OSError(-rc, f"sandbox: {what}")
    if rc in (-ENOENT, -EOPNOTSUPP) and choice.chosen.ops == NULL:
        refuse_tracker(choice, tracker, what)
    raise DriverUnavailable(driver, what)
