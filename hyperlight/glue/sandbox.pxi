# csrc/sandbox: calls, snapshots.

from cpython.exc cimport PyErr_CheckSignals

from hyperlight.errors import DriverUnavailable, GuestAborted, GuestError

cdef extern from "sandbox.h" nogil:
    struct hl_sandbox:
        pass
    struct hl_sandbox_span:
        uint64_t addr, size
    struct hl_sandbox_slot "hl_sandbox_slot":
        uint64_t addr, size
        bint logged
    struct hl_sandbox_config:
        const hl_driver_ops *driver
        const char *tracker
        bint adaptive
        hl_sandbox_slot slots[8]
        size_t slot_count
        hl_x86_region regions[32]
        size_t region_count
        hl_sandbox_span tables, thread, stack, heap, input, output
        const void *file
        size_t file_size
        const hl_elf *elf
        uint64_t base
    cdef enum hl_sandbox_status_t "hl_sandbox_status":
        HL_SANDBOX_IDLE, HL_SANDBOX_IN_CALL, HL_SANDBOX_POISONED
    int hl_sandbox_new(const hl_sandbox_config *config, hl_sandbox **out,
                       char *why)
    void hl_sandbox_free(hl_sandbox *sandbox)
    hl_sandbox_status_t hl_sandbox_status(const hl_sandbox *sandbox)
    void *hl_sandbox_input(hl_sandbox *sandbox)
    const void *hl_sandbox_output(const hl_sandbox *sandbox)
    int hl_sandbox_begin(hl_sandbox *sandbox, size_t size, size_t message)
    int hl_sandbox_run(hl_sandbox *sandbox, uint64_t deadline, hl_exit *exit)
    void hl_sandbox_end(hl_sandbox *sandbox)
    void hl_sandbox_interrupt(hl_sandbox *sandbox)
    size_t hl_sandbox_state_size(const hl_sandbox *sandbox)
    int hl_sandbox_take(hl_sandbox *sandbox, hl_snapshot **out, void *state)
    int hl_sandbox_restore(hl_sandbox *sandbox, hl_snapshot *snapshot,
                           const void *state, hl_applied *done)
    hl_manager *hl_sandbox_manager(hl_sandbox *sandbox)
    size_t hl_sandbox_count()

cdef extern from "<errno.h>":
    int ECHILD, EBUSY, EINVAL, EMFILE, ENFILE

LEFT_READY = HL_LEAVE_READY
LEFT_HOST_CALL = HL_LEAVE_HOST_CALL
LEFT_LOG = HL_LEAVE_LOG
LEFT_ABORT = HL_LEAVE_ABORT
# What else ended a run; no guest's own number.
cdef enum:
    LEAVES_EXCEPTION = -1
    LEAVES_INTERRUPTED = -2
    LEAVES_TIMEOUT = -3
    LEAVES_BROKEN = -4
LEFT_EXCEPTION = LEAVES_EXCEPTION
LEFT_INTERRUPTED = LEAVES_INTERRUPTED
LEFT_TIMEOUT = LEAVES_TIMEOUT
LEFT_BROKEN = LEAVES_BROKEN

EXIT_CALL = <int>HL_EXIT_CALL
EXIT_EXCEPTION = <int>HL_EXIT_EXCEPTION
EXIT_SHUTDOWN = <int>HL_EXIT_SHUTDOWN
EXIT_BAD_ACCESS = <int>HL_EXIT_BAD_ACCESS


cdef hl_sandbox_span span_of(span) except *:
    addr, size = span
    return hl_sandbox_span(addr, size)


@cython.no_gc_clear  # the guest must not outlive what it runs in
cdef class SandboxCore:
    """A guest and its machine.  The caller sees to one call at a time."""

    cdef hl_sandbox *sandbox
    cdef hl_exit left
    cdef size_t input_size, output_size, call_size
    cdef size_t state_size
    cdef bint wanted  # somebody interrupts the call under way
    cdef bint called  # there is one
    #: Inside of run(): a signal handler of Python may find it so.
    cdef readonly bint running
    cdef readonly size_t page_count
    #: The SnapshotCore that the sandbox equalled at the last take or restore.
    cdef readonly SnapshotCore current

    def __init__(self, str driver not None, tracker, bint adaptive,
                 bytes file not None, base, slots, regions, spans not None):
        cdef char why[HL_WHY_SIZE]
        cdef hl_sandbox_config c
        cdef hl_elf elf
        cdef bytes tracker_name
        cdef int rc
        cdef size_t n = 0
        if self.sandbox != NULL:
            raise ValueError("this sandbox is already set up")
        if len(slots) > HL_VM_SLOTS:
            raise ValueError(f"{len(slots)} slots are too many")
        memset(&c, 0, sizeof(c))
        read_elf(file, &elf)
        c.driver = find_driver(driver)
        if tracker is not None:
            tracker_name = tracker.encode()
            c.tracker = PyBytes_AS_STRING(tracker_name)
        c.adaptive = adaptive
        for addr, size, logged in slots:
            c.slots[n] = hl_sandbox_slot(addr, size, logged)
            n += 1
        c.slot_count = n
        c.region_count = fill_regions(c.regions, regions)
        c.tables = span_of(spans["tables"])
        c.thread = span_of(spans["thread"])
        c.stack = span_of(spans["stack"])
        c.heap = span_of(spans["heap"])
        c.input = span_of(spans["input"])
        c.output = span_of(spans["output"])
        c.file = PyBytes_AS_STRING(file)
        c.file_size = len(file)
        c.elf = &elf
        c.base = base
        why[0] = 0
        with nogil:
            rc = hl_sandbox_new(&c, &self.sandbox, why)
        if rc == -EINVAL:
            raise ValueError(why.decode())
        if rc == -ENOMEM:
            raise MemoryError(f"sandbox: {why.decode()}")
        if rc == -EMFILE or rc == -ENFILE:
            raise OSError(-rc, f"sandbox: {why.decode()}")
        if rc < 0 and tracker is not None:
            raise TrackerUnavailable(tracker, why.decode())
        if rc < 0:
            raise DriverUnavailable(driver, why.decode())
        self.input_size, self.output_size = c.input.size, c.output.size
        self.state_size = hl_sandbox_state_size(self.sandbox)
        self.page_count = hl_manager_page_count(self._manager())

    def close(self):
        """Free everything; a second call does nothing."""
        cdef hl_sandbox *sandbox = self.sandbox
        self.sandbox = NULL
        self.current = None
        if sandbox != NULL:
            with nogil:
                hl_sandbox_free(sandbox)

    def __dealloc__(self):
        if self.sandbox != NULL:
            hl_sandbox_free(self.sandbox)

    cdef hl_sandbox *_open(self) except NULL:
        if self.sandbox == NULL:
            raise ValueError("operation on a closed Sandbox")
        return self.sandbox

    cdef hl_manager *_manager(self) except NULL:
        return hl_sandbox_manager(self._open())

    @property
    def idle(self):
        """No call was begun that did not end well."""
        return hl_sandbox_status(self._open()) == HL_SANDBOX_IDLE

    def begin_init(self):
        """Have run() start the guest."""
        self._begin(0, 0)

    cdef int _begin(self, size_t size, size_t message) except -1:
        cdef int rc = hl_sandbox_begin(self._open(), size, message)
        if rc == -ECHILD:
            raise ValueError(
                "this sandbox belongs to the process that made it: a child "
                "of fork cannot use it")
        return check(rc, "begin")

    def begin(self, bytes name not None, bytes types not None,
              tuple args not None):
        """Write a call, its name encoded, and have run() start with it."""
        cdef hl_wire_writer w
        cdef Py_ssize_t i, n = len(args)
        cdef const char *codes = PyBytes_AS_STRING(types)
        if n != len(types):
            raise TypeError(f"takes {len(types)} arguments, not {n}")
        hl_wire_begin(&w, hl_sandbox_input(self._open()),
                      self.input_size - REPLY_ROOM)
        check(hl_wire_put_raw(&w, PyBytes_AS_STRING(name), len(name), 1),
              "call")
        for i in range(n):
            try:
                put_value(&w, codes[i], args[i])
            except (TypeError, ValueError, OverflowError,
                    BufferError) as error:
                kind = (TypeError if isinstance(error, TypeError)
                        else ValueError)
                raise kind(
                    f"argument {i + 1}, {brief(args[i])}, is no "
                    f"{TYPES[codes[i]]}: {error}") from None
        self.call_size = check(
            hl_wire_end(&w, HL_MESSAGE_CALL, HL_NONE), "call")
        self._begin(self.call_size, 0)
        self.wanted = False
        self.called = True

    def reply(self, int code, value):
        """Write what a host function returned.

        Raises TypeError or ValueError, and nothing was written, where that
        is not what the guest asked for.
        """
        cdef hl_wire_writer w
        hl_wire_begin(&w, <char *>hl_sandbox_input(self._open())
                      + self.call_size, self.input_size - self.call_size)
        put_value(&w, code, None if code == HL_NONE else value)
        self._begin(self.call_size + check(
            hl_wire_end(&w, HL_MESSAGE_RESULT, HL_NONE), "reply"),
            self.call_size)

    def reply_error(self, int code, str text not None):
        """Write that a host function failed."""
        cdef hl_wire_writer w
        hl_wire_begin(&w, <char *>hl_sandbox_input(self._open())
                      + self.call_size, self.input_size - self.call_size)
        put_value(&w, HL_I32, code)
        put_value(&w, HL_STR, text[:200].encode(
            "utf-8", "replace").decode())
        self._begin(self.call_size + check(
            hl_wire_end(&w, HL_MESSAGE_ERROR, HL_NONE), "reply"),
            self.call_size)

    def run(self, uint64_t deadline):
        """Let the guest go on; one of LEFT_*.

        Args:
            deadline: ns of CLOCK_MONOTONIC; 0 for none.
        """
        self._open()
        self.running = True
        try:
            return self._run(deadline)
        finally:
            self.running = False

    cdef int _run(self, uint64_t deadline) except 0:
        cdef hl_sandbox *s = self.sandbox
        cdef int rc
        while True:
            with nogil:
                rc = hl_sandbox_run(s, deadline, &self.left)
            check(rc, "run")
            if self.left.reason == HL_EXIT_CALL:
                if HL_LEAVE_READY <= self.left.value <= HL_LEAVE_ABORT:
                    return self.left.value
                return LEAVES_BROKEN
            if self.left.reason == HL_EXIT_INTERRUPTED:
                PyErr_CheckSignals()
                if self.left.value == 0:
                    continue
                if self.wanted:
                    return LEAVES_INTERRUPTED
                continue  # it was meant for a call that had ended by then
            if self.left.reason == HL_EXIT_TIMEOUT:
                return LEAVES_TIMEOUT
            if self.left.reason == HL_EXIT_EXCEPTION:
                return LEAVES_EXCEPTION
            return LEAVES_BROKEN

    def left_by(self):
        """(reason, value, vector, error code, rip, cr2) of the last run."""
        return (<int>self.left.reason, self.left.value,
                self.left.frame.vector, self.left.frame.error,
                self.left.frame.rip, self.left.cr2)

    def left_detail(self):
        """What the driver knows of the exception that ended it, or ""."""
        return self.left.detail.decode()

    def end(self):
        """The call is over, and the guest can be called again."""
        self.called = False
        hl_sandbox_end(self._open())

    def failed_by(self):
        """Code of the error that the guest left, or 0 if it left none."""
        cdef hl_wire_reader r
        cdef const void *output = hl_sandbox_output(self._open())
        if (hl_wire_open(&r, output, self.output_size) < 0
                or r.kind != HL_MESSAGE_ERROR):
            return 0
        return self.message(MESSAGE_ERROR, 2)[1][0]

    def result(self, int code):
        """The value of the type that the guest left, ending the call.

        Raises:
            GuestError: It left an error instead; the call has ended.
            GuestAborted: It left something else; the call has not ended.
        """
        cdef hl_wire_reader r
        cdef hl_wire_value v
        cdef object value = None
        cdef const void *output = hl_sandbox_output(self._open())
        if hl_wire_open(&r, output, self.output_size) < 0:
            raise malformed(r.wrong)
        if r.kind == HL_MESSAGE_ERROR:
            error, text = self.message(MESSAGE_ERROR, 2)[1]
            self.end()
            raise GuestError(error, text)
        if r.kind != HL_MESSAGE_RESULT:
            raise malformed(b"neither a result nor an error")
        if hl_wire_next(&r, &v) < 0:
            raise malformed(r.wrong)
        if <int>v.type != code:
            raise malformed(b"a result of another type")
        if hl_wire_close(&r) < 0:
            raise malformed(r.wrong)
        try:
            value = value_of(&v)
        except ValueError:
            raise malformed(b"text that is not UTF-8") from None
        self.called = False
        hl_sandbox_end(self.sandbox)
        return value

    def message(self, int kind, Py_ssize_t limit):
        """(type wanted back, values) of the message that the guest left.

        Raises:
            GuestAborted: It is none of that kind, or has over `limit` values.
        """
        cdef hl_wire_reader r
        cdef hl_wire_value v
        cdef const void *output = hl_sandbox_output(self._open())
        if hl_wire_open(&r, output, self.output_size) < 0:
            raise malformed(r.wrong)
        if <int>r.kind != kind:
            raise malformed(b"a message of another kind")
        if r.left > limit:
            raise malformed(b"too many values")
        values = []
        types = []
        try:
            while r.left:
                if hl_wire_next(&r, &v) < 0:
                    raise malformed(r.wrong)
                types.append(<int>v.type)
                values.append(value_of(&v))
        except ValueError:
            raise malformed(b"text that is not UTF-8") from None
        if hl_wire_close(&r) < 0:
            raise malformed(r.wrong)
        shape = message_shapes.get(kind)
        if shape is not None and types != shape:
            raise malformed(b"values of other types")
        if kind == MESSAGE_CALL and types[:1] != [HL_STR]:
            raise malformed(b"a call of nothing")
        if kind == MESSAGE_FUNCTIONS and set(types) - {HL_STR}:
            raise malformed(b"values of other types")
        return r.result, values

    def interrupt(self):
        """End the call under way, if there is one; from any thread."""
        if self.sandbox != NULL and self.called:
            self.wanted = True
            hl_sandbox_interrupt(self.sandbox)

    def take(self, SnapshotCore into not None):
        cdef hl_sandbox *s = self._open()
        cdef hl_snapshot *taken = NULL
        cdef bytes state = PyBytes_FromStringAndSize(NULL, self.state_size)
        cdef char *to = PyBytes_AS_STRING(state)
        cdef int rc
        if into.snapshot != NULL:
            raise ValueError("this Snapshot is taken already")
        with nogil:
            rc = hl_sandbox_take(s, &taken, to)
        check(rc, "snapshot")
        into.snapshot = taken
        into.state = state
        self.current = into

    def restore(self, SnapshotCore snapshot not None):
        """Returns what RestoreStats is made of."""
        cdef hl_sandbox *s = self._open()
        cdef hl_snapshot *from_ = snapshot._taken()
        cdef hl_applied done
        cdef const char *state
        cdef int rc
        if (snapshot.state is None or len(snapshot.state) != self.state_size
                or hl_snapshot_page_count(from_) != self.page_count):
            raise ValueError("the snapshot is of another kind")
        state = PyBytes_AS_STRING(snapshot.state)
        with nogil:
            rc = hl_sandbox_restore(s, from_, state, &done)
        if rc == -ECHILD:
            raise ValueError(
                "this sandbox belongs to the process that made it")
        check(rc, "restore")
        self.called = False
        self.current = snapshot
        return (done.copied, done.zeroed,
                (done.copied + done.zeroed) * hl_page_size(), self.tracker)

    @property
    def tracker(self):
        """Name of the tracker in use."""
        return hl_manager_tracker(self._manager()).decode()

    def changed(self, SnapshotCore snapshot not None):
        """Bitmap of the pages that differ."""
        cdef bytes bits = new_bits(self.page_count)
        check(hl_manager_changed(self._manager(), snapshot._taken(),
                                 words_of(bits)), "changed")
        return bits

    def verify(self, SnapshotCore snapshot not None):
        """Bitmap of the pages that the tracker missed."""
        cdef hl_manager *m = self._manager()
        cdef hl_snapshot *s = snapshot._taken()
        cdef bytes bits = new_bits(self.page_count)
        cdef uint64_t *words = words_of(bits)
        cdef ssize_t rc
        with nogil:
            rc = hl_manager_verify(m, s, words)
        check(rc, "verify")
        return bits

    def stats(self):
        """As ManagerCore.stats."""
        return stats_of(self._manager())


cdef dict message_shapes = {
    MESSAGE_ERROR: [<int>HL_I32, <int>HL_STR],
    MESSAGE_LOG: [<int>HL_I32, <int>HL_STR],
}


cdef malformed(const char *wrong):
    return GuestAborted(
        f"the guest left {wrong.decode()} where a message was due")


cdef str brief(value):
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}... ({type(value).__name__})"


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
