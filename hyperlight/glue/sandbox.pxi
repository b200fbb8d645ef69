# csrc/sandbox: calls, snapshots.

from cpython.exc cimport PyErr_CheckSignals

from hyperlight.errors import (
    DriverUnavailable, GuestAborted, GuestError, SandboxPoisoned)
from hyperlight.text import brief, count
from sys import is_finalizing

cdef extern from "turn.h" nogil:
    cdef enum hl_state:
        HL_READY, HL_POISONED, HL_CALL, HL_WORK, HL_CLOSED
    struct hl_turn:
        pass
    hl_state hl_turn_state(const hl_turn *turn)
    bint hl_turn_is_mine(const hl_turn *turn)
    bint hl_turn_is_forked(const hl_turn *turn)
    void hl_turn_queue(hl_turn *turn)
    void hl_turn_unqueue(hl_turn *turn)
    void hl_turn_wait(hl_turn *turn)

cdef extern from "os/wait.h" nogil:
    uint64_t hl_now()

cdef extern from "sandbox.h" nogil:
    struct hl_sandbox:
        pass
    struct hl_span:
        uint64_t addr, size
    struct hl_image:
        const void *file
        size_t file_size
        const hl_elf *elf
        uint64_t base
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
        hl_span tables, thread, stack, heap, input, output
        hl_image image
    int hl_sandbox_new(const hl_sandbox_config *config, hl_sandbox **out,
                       hl_choice *choice, char *why)
    hl_sandbox *hl_sandbox_ref(hl_sandbox *sandbox)
    void hl_sandbox_unref(hl_sandbox *sandbox)
    void hl_sandbox_close(hl_sandbox *sandbox)
    bint hl_sandbox_is_closed(const hl_sandbox *sandbox)
    int hl_sandbox_enter(hl_sandbox *sandbox, hl_state wanted, bint waits)
    void hl_sandbox_leave(hl_sandbox *sandbox)
    hl_turn *hl_sandbox_turn(hl_sandbox *sandbox)
    void *hl_sandbox_input(hl_sandbox *sandbox)
    const void *hl_sandbox_output(const hl_sandbox *sandbox)
    void hl_sandbox_wrote(hl_sandbox *sandbox, size_t size)
    void hl_sandbox_set_deadline(hl_sandbox *sandbox, uint64_t deadline)
    int hl_sandbox_begin(hl_sandbox *sandbox, size_t size, size_t message)
    int hl_sandbox_run(hl_sandbox *sandbox, hl_exit *exit)
    void hl_sandbox_end(hl_sandbox *sandbox)
    void hl_sandbox_interrupt(hl_sandbox *sandbox)
    size_t hl_sandbox_peek(const hl_sandbox *sandbox, uint64_t addr, void *to,
                           size_t size)
    size_t hl_sandbox_state_size(const hl_sandbox *sandbox)
    int hl_sandbox_take(hl_sandbox *sandbox, hl_snapshot **out, void *state)
    int hl_sandbox_restore(hl_sandbox *sandbox, hl_snapshot *snapshot,
                           const void *state, hl_applied *done)
    hl_manager *hl_sandbox_manager(hl_sandbox *sandbox)
    size_t hl_sandbox_count()

cdef extern from "<errno.h>":
    int EAGAIN, EBADF, ECHILD, EBUSY, EDEADLK, EINVAL, EMFILE, ENFILE
    int ENOENT, EOPNOTSUPP

LEFT_READY = <int>HL_LEFT_READY
LEFT_HOST_CALL = <int>HL_LEFT_HOST_CALL
LEFT_LOG = <int>HL_LEFT_LOG
LEFT_ABORT = <int>HL_LEFT_ABORT
LEFT_EXCEPTION = <int>HL_LEFT_EXCEPTION
LEFT_INTERRUPTED = <int>HL_LEFT_INTERRUPTED
LEFT_TIMEOUT = <int>HL_LEFT_TIMEOUT
LEFT_BROKEN = <int>HL_LEFT_BROKEN

EXIT_CALL = <int>HL_EXIT_CALL
EXIT_EXCEPTION = <int>HL_EXIT_EXCEPTION
EXIT_SHUTDOWN = <int>HL_EXIT_SHUTDOWN
EXIT_BAD_ACCESS = <int>HL_EXIT_BAD_ACCESS


cdef hl_span span_of(span) except *:
    addr, size = span
    return hl_span(addr, size)


cdef str FORKED = (
    "this sandbox belongs to the process that made it: a child of fork can "
    "only close it")


@cython.no_gc_clear  # the guest must not outlive what it runs in
cdef class SandboxCore:
    """A guest and its machine.

    Any thread may call anything.  What needs the guest to stand still takes
    the turn (csrc/turn.h) and gives it back before it returns, with no Python
    code in between but what a call is about; other threads wait for it.
    `token` is the caller's: see `face`.
    """

    cdef hl_sandbox *sandbox
    cdef hl_exit left
    cdef hl_call io
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
    #: The SnapshotCore that the sandbox equalled at the last take or restore.
    cdef readonly SnapshotCore current

    def __init__(self, str driver not None, str tracker, bint adaptive,
                 bytes file not None, base, slots, regions, spans not None):
        cdef char why[HL_WHY_SIZE]
        cdef hl_choice choice
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
            c.tracker = tracker_name
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
        c.image.file = PyBytes_AS_STRING(file)
        c.image.file_size = len(file)
        c.image.elf = &elf
        c.image.base = base
        why[0] = 0
        with nogil:
            rc = hl_sandbox_new(&c, &self.sandbox, &choice, why)
        what = why.decode("utf-8", "replace")
        if rc == -EINVAL:
            raise ValueError(what)
        if rc == -ENOMEM:
            raise MemoryError(f"sandbox: {what}")
        if rc in (-EMFILE, -ENFILE, -EAGAIN):
            raise OSError(-rc, f"sandbox: {what}")
        if rc in (-ENOENT, -EOPNOTSUPP) and choice.chosen.ops == NULL:
            refuse_tracker(&choice, tracker, what)
        if rc < 0:
            raise DriverUnavailable(driver, what)
        self.because = choice.because
        hl_call_init(&self.io, hl_sandbox_input(self.sandbox), c.input.size,
                     hl_sandbox_output(self.sandbox), c.output.size)
        self.state_size = hl_sandbox_state_size(self.sandbox)
        self.page_count = hl_manager_page_count(
            hl_sandbox_manager(self.sandbox))
        self.tracker = hl_manager_tracker(
            hl_sandbox_manager(self.sandbox)).decode()

    def __dealloc__(self):
        cdef hl_sandbox *sandbox = self.sandbox
        self.sandbox = NULL
        if sandbox != NULL:
            with nogil:  # nobody else has heard of this object any more
                hl_sandbox_unref(sandbox)

    # Whose turn it is.

    cdef int _enter(self, hl_state wanted, str what, token) except -1:
        """Wait for the turn, and have it until _leave.

        The pointer stays good: whoever calls a method holds the object.
        """
        cdef hl_sandbox *s = self.sandbox
        cdef int rc
        if s == NULL or not self.belongs_to(token):
            raise ValueError("operation on a closed Sandbox")
        rc = hl_sandbox_enter(s, wanted, False)  # with the GIL: face stays
        if rc == -EAGAIN:
            hl_turn_queue(hl_sandbox_turn(s))
            try:
                rc = self._wait(wanted, token)
            finally:
                hl_turn_unqueue(hl_sandbox_turn(s))
        return 0 if rc == 0 else self._refuse(rc, what)

    cdef int _wait(self, hl_state wanted, token) except? -1:
        """Enter when another thread has given the turn back."""
        cdef int rc = -EAGAIN
        while rc == -EAGAIN:
            if is_finalizing():
                raise RuntimeError(
                    "the interpreter ended the thread that was in the middle "
                    "of a call")
            with nogil:
                hl_turn_wait(hl_sandbox_turn(self.sandbox))
            PyErr_CheckSignals()
            if not self.belongs_to(token):
                raise ValueError("operation on a closed Sandbox")
            rc = hl_sandbox_enter(self.sandbox, wanted, True)
        return rc

    cdef int _refuse(self, int rc, str what) except -1:
        """Raise what an enter that failed means."""
        if rc == -EBADF:
            raise ValueError("operation on a closed Sandbox")
        if rc == -ECHILD:
            raise ValueError(FORKED)
        if rc == -EDEADLK:
            raise RuntimeError(
                f"{what} inside of {self.inside or 'its own call'}: the guest "
                f"is in the middle of a call; do it when that has ended")
        if rc == -EBUSY:
            raise SandboxPoisoned(
                f"{what} of a poisoned sandbox: its last call did not end "
                f"well, so restore it first")
        return check(rc, what)

    cdef int _leave(self) except -1:
        """Give the turn back.  Raises nothing."""
        hl_sandbox_leave(self.sandbox)
        return 0

    cdef hl_sandbox *_calling(self) except NULL:
        """The sandbox, of which this thread is in the middle of a call."""
        if (self.sandbox == NULL
                or not hl_turn_is_mine(hl_sandbox_turn(self.sandbox))):
            raise RuntimeError("no call is under way")
        return self.sandbox

    cpdef bint belongs_to(self, token) noexcept:
        """May this token's holder use it?"""
        return token is not None and (
            token is self.face or token is self.making)

    def claim(self, token):
        """Be the only one that makes something of it; False: another is."""
        if self.making is not None:
            return False
        self.making = token
        return True

    def unclaim(self, token):
        """Give a claim back, if there is one of this token."""
        if self.making is token:
            self.making = None

    @property
    def closed(self):
        """True once everything was given back."""
        return self.sandbox == NULL or hl_sandbox_is_closed(self.sandbox)

    @property
    def forked(self):
        """True in a child of the process that made it."""
        return (self.sandbox != NULL
                and hl_turn_is_forked(hl_sandbox_turn(self.sandbox)))

    def refuse_fork(self):
        """Raise in a child of the process that made it."""
        if self.forked:
            raise ValueError(FORKED)

    @property
    def poisoned(self):
        """A call did not end well, and it was not restored since."""
        self.refuse_fork()
        return (self.sandbox != NULL and hl_turn_state(
            hl_sandbox_turn(self.sandbox)) == HL_POISONED)

    def close(self, token):
        """Free everything; a second call does nothing.

        Waits for a call under way on another thread.
        """
        cdef hl_sandbox *s = self.sandbox
        cdef SnapshotCore old
        if s == NULL or self.closed or not self.belongs_to(token):
            return
        if not self.forked:
            try:
                self._enter(HL_WORK, "close", token)
            except ValueError:  # somebody else did it meanwhile
                return
            except RuntimeError:
                if is_finalizing():  # it goes with the process
                    return
                raise
        old, self.current = self.current, None
        with nogil:
            hl_sandbox_close(s)

    def interrupt(self, token):
        """End the call under way, if there is one; from any thread."""
        # It cannot be closed meanwhile: who closes needs the GIL to begin.
        self.refuse_fork()
        if self.sandbox != NULL and self.belongs_to(token):
            hl_sandbox_interrupt(self.sandbox)

    # Calls.

    def start(self, token, uint64_t limit, serve):
        """Run the guest until it can be called; what it exports.

        Args:
            limit: ns that it may take, without the waiting for another
                thread; 0 for no limit.
            serve: Called with one of LEFT_* that is not LEFT_READY, until it
                returns: by then the guest is ready.
        """
        cdef int reason
        self._enter(HL_CALL, "evolve", token)
        try:
            hl_sandbox_set_deadline(
                self.sandbox, hl_now() + limit if limit else 0)
            hl_call_nothing(&self.io)
            self._begin(0, 0)
            reason = self._run()
            if reason != HL_LEFT_READY:
                serve(reason)
            texts = self.message(MESSAGE_FUNCTIONS)
            hl_sandbox_end(self.sandbox)
            return texts
        finally:
            self._leave()

    def call(self, token, function, tuple args not None, uint64_t limit,
             serve):
        """Call a GuestFunction; see start() for `limit` and `serve`.

        What `serve` returns, an exception of a host function's or None, is
        raised where the guest passed that failure on.

        Raises:
            TypeError, ValueError: An argument is wrong; the guest did not run.
            GuestError: The function said no.
            GuestAborted: The guest broke the rules.
        """
        cdef int reason
        failure = None
        self._enter(HL_CALL, "call", token)
        try:
            hl_sandbox_set_deadline(
                self.sandbox, hl_now() + limit if limit else 0)
            self._write_call(function, args)
            self._begin(self.io.size, 0)
            reason = self._run()
            if reason != HL_LEFT_READY:
                failure = serve(reason)
            return self._result(function.result, failure)
        finally:
            self.inside = None
            self._leave()

    def time_of_run(self, token, function, tuple args not None):
        """ns that the guest and the kernel take of a call; for benchmarks."""
        cdef uint64_t start, end
        self._enter(HL_CALL, "call", token)
        try:
            hl_sandbox_set_deadline(self.sandbox, 0)
            self._write_call(function, args)
            self._begin(self.io.size, 0)
            start = hl_now()
            self._run()
            end = hl_now()
            self._result(function.result, None)
            return end - start
        finally:
            self._leave()

    cdef int _begin(self, size_t size, size_t message) except -1:
        cdef int rc = hl_sandbox_begin(self.sandbox, size, message)
        if rc == -ECHILD:
            raise ValueError(FORKED)
        return check(rc, "begin")

    cdef int _write_call(self, function, tuple args) except -1:
        """Write a call, whose arguments may be anybody's Python code."""
        cdef bytes name = function.encoded
        cdef bytes types = function.arguments
        cdef Py_ssize_t i, n = len(args)
        cdef const char *codes = PyBytes_AS_STRING(types)
        if n != len(types):
            raise TypeError(
                f"{function.signature}: takes "
                f"{count(len(types), 'argument')}, not {n}")
        check(hl_call_begin(&self.io, PyBytes_AS_STRING(name), len(name)),
              "call")
        self.inside = "an argument's own code"
        try:
            for i in range(n):
                try:
                    put_value(&self.io.writer, codes[i], args[i])
                except REFUSALS as error:
                    raise refusal(error)(
                        f"{function.signature}: argument {i + 1}, "
                        f"{brief(args[i])}, is no {TYPES[codes[i]]}: "
                        f"{error}") from None
        finally:
            hl_sandbox_wrote(self.sandbox, hl_call_written(&self.io))
        self.inside = None
        return check(hl_call_end(&self.io), "call")

    def reply(self, int code, value):
        """Write what a host function returned.

        Raises TypeError or ValueError, and the guest waits for another reply,
        where that is not what it asked for; or whatever the value's own code
        raises.
        """
        cdef hl_sandbox *s = self._calling()
        hl_call_reply(&self.io)
        try:
            put_value(&self.io.writer, code,
                      None if code == HL_NONE else value)
        except REFUSALS as error:
            raise refusal(error)(str(error)) from None
        finally:
            hl_sandbox_wrote(s, hl_call_written(&self.io))
        self._replied(HL_MESSAGE_RESULT)

    def reply_error(self, int code, str text not None):
        """Write that a host function failed."""
        cdef hl_sandbox *s = self._calling()
        hl_call_reply(&self.io)
        try:
            put_value(&self.io.writer, HL_I32, code)
            put_value(&self.io.writer, HL_STR, text[:200].encode(
                "utf-8", "replace").decode())
        finally:
            hl_sandbox_wrote(s, hl_call_written(&self.io))
        self._replied(HL_MESSAGE_ERROR)

    cdef int _replied(self, hl_message_kind kind) except -1:
        cdef ssize_t size = hl_call_replied(&self.io, kind)
        return self._begin(check(size, "reply"), self.io.size)

    def resume(self):
        """Let the guest go on; one of LEFT_*."""
        self._calling()
        return self._run()

    cdef int _run(self) except 0:
        cdef hl_sandbox *s = self.sandbox
        cdef int rc, left
        while True:
            with nogil:
                rc = hl_sandbox_run(s, &self.left)
            if rc == -ECHILD:
                raise ValueError(FORKED)
            check(rc, "run")
            left = hl_call_left(&self.left)
            if left != HL_LEFT_KICKED:
                return left
            self.inside = "a signal handler"
            PyErr_CheckSignals()
            self.inside = None

    def left_by(self):
        """(reason, value, vector, error code, rip, cr2) of the last run."""
        return (<int>self.left.reason, self.left.value,
                self.left.frame.vector, self.left.frame.error,
                self.left.frame.rip, self.left.cr2)

    def code_at(self, uint64_t address):
        """Up to 16 bytes of guest memory from there on."""
        cdef char code[16]
        cdef size_t n = hl_sandbox_peek(self._calling(), address, code, 16)
        return code[:n]

    def left_detail(self):
        """What the driver knows of the exception that ended it, or ""."""
        return self.left.detail.decode()

    cdef object _result(self, int code, failure):
        """The value of the type that the guest left, ending the call.

        Raises:
            GuestError: It left an error instead; the call has ended.
            GuestAborted: It left something else; the call has not ended.
            failure: If the error is that a host function had failed.
        """
        if hl_call_open_result(&self.io, <hl_type>code) < 0:
            raise malformed(self.io.wrong)
        values = self._values()
        hl_sandbox_end(self.sandbox)
        if self.io.kind == HL_MESSAGE_RESULT:
            return values[0]
        if failure is not None and values[0] == HL_ERROR_HOST:
            raise failure
        raise GuestError(*values)

    def message(self, int kind):
        """The values of the message that the guest left.

        Raises:
            GuestAborted: It is none of that kind.
        """
        self._calling()
        if hl_call_open(&self.io, <hl_message_kind>kind) < 0:
            raise malformed(self.io.wrong)
        return self._values()

    def wanted(self):
        """The type of the result that the message read last asks for."""
        return <int>self.io.reader.result

    cdef list _values(self):
        cdef hl_wire_value v
        cdef list values = []
        cdef int rc
        try:
            while True:
                rc = hl_call_next(&self.io, &v)
                if rc <= 0:
                    break
                values.append(value_of(&v))
        except ValueError:
            raise malformed(b"text that is not UTF-8") from None
        if rc < 0:
            raise malformed(self.io.wrong)
        return values

    # Snapshots.

    def take(self, token, SnapshotCore into not None):
        """Fill a snapshot, and make it current."""
        cdef hl_snapshot *taken = NULL
        cdef bytes state = PyBytes_FromStringAndSize(NULL, self.state_size)
        cdef char *to = PyBytes_AS_STRING(state)
        cdef SnapshotCore old
        cdef int rc
        if into.snapshot != NULL:
            raise ValueError("this Snapshot is taken already")
        self._enter(HL_WORK, "snapshot", token)
        with nogil:
            rc = hl_sandbox_take(self.sandbox, &taken, to)
        old = self.current
        if rc == 0:
            into.snapshot = taken
            into.state = state
            self.current = into
        self._leave()
        if rc < 0:
            self._refuse(rc, "snapshot")

    def restore(self, token, SnapshotCore snapshot not None, face=None):
        """Returns what RestoreStats is made of.

        Args:
            snapshot: Of this guest, layout and driver.
            face: The token of whose it is from then on; None: as before.
        """
        cdef hl_snapshot *from_ = snapshot._taken()
        cdef hl_applied done
        cdef const char *state
        cdef SnapshotCore old
        cdef int rc
        if (snapshot.state is None or len(snapshot.state) != self.state_size
                or hl_snapshot_page_count(from_) != self.page_count):
            raise ValueError("the snapshot is of another kind")
        state = PyBytes_AS_STRING(snapshot.state)
        self._enter(HL_WORK, "restore", token)
        with nogil:
            rc = hl_sandbox_restore(self.sandbox, from_, state, &done)
        old = self.current
        if rc == 0:
            self.current = snapshot
            if face is not None:
                self.face = face
        self._leave()
        check(rc, "restore")
        return (done.copied, done.zeroed,
                (done.copied + done.zeroed) * hl_page_size(), self.tracker)

    def changed(self, token, SnapshotCore snapshot not None, bint everything):
        """Bitmap of the pages that differ: see hl_manager_changed."""
        cdef hl_snapshot *s = snapshot._taken()
        cdef bytes bits = new_bits(self.page_count)
        cdef uint64_t *words = words_of(bits)
        cdef int rc
        self._enter(HL_WORK, "changed", token)
        with nogil:
            if everything:
                rc = hl_manager_differing(hl_sandbox_manager(self.sandbox), s,
                                          words)
            else:
                rc = hl_manager_changed(hl_sandbox_manager(self.sandbox), s,
                                        words)
        self._leave()
        check(rc, "changed")
        return bits

    def verify(self, token, SnapshotCore snapshot not None):
        """Bitmap of the pages that the tracker missed."""
        cdef hl_snapshot *s = snapshot._taken()
        cdef bytes bits = new_bits(self.page_count)
        cdef uint64_t *words = words_of(bits)
        cdef ssize_t rc
        self._enter(HL_WORK, "verify", token)
        with nogil:
            rc = hl_manager_verify(hl_sandbox_manager(self.sandbox), s, words)
        self._leave()
        check(rc, "verify")
        return bits

    def stats(self, token):
        """As ManagerCore.stats; also from inside of a call."""
        cdef bint mine
        self.refuse_fork()
        mine = (self.sandbox != NULL
                and hl_turn_is_mine(hl_sandbox_turn(self.sandbox)))
        if not mine:
            self._enter(HL_WORK, "stats", token)
        try:
            return stats_of(hl_sandbox_manager(self.sandbox))
        finally:
            if not mine:
                self._leave()


cdef malformed(const char *wrong):
    return GuestAborted(
        f"the guest left {wrong.decode()} where a message was due")


# What a value may be refused with; the words say which it was.
REFUSALS = (TypeError, ValueError, OverflowError, BufferError)


cdef refusal(error):
    """The class of our own error for one of REFUSALS."""
    return TypeError if isinstance(error, TypeError) else ValueError


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
