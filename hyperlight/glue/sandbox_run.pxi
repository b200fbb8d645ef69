# Running a guest, and why it left.

LEFT_READY = <int>HL_LEFT_READY
LEFT_HOST_CALL = <int>HL_LEFT_HOST_CALL
LEFT_LOG = <int>HL_LEFT_LOG
LEFT_ABORT = <int>HL_LEFT_ABORT
LEFT_EXCEPTION = <int>HL_LEFT_EXCEPTION
LEFT_INTERRUPTED = <int>HL_LEFT_INTERRUPTED
LEFT_TIMEOUT = <int>HL_LEFT_TIMEOUT
LEFT_BROKEN = <int>HL_LEFT_BROKEN
LEFT_EXITED = <int>HL_LEFT_EXITED
LEFT_LIMIT = <int>HL_LEFT_LIMIT
LEFT_ASKS = <int>HL_LEFT_ASKS
LEFT_OUTPUT = <int>HL_LEFT_OUTPUT

EXIT_CALL = <int>HL_EXIT_CALL
EXIT_EXCEPTION = <int>HL_EXIT_EXCEPTION
EXIT_SHUTDOWN = <int>HL_EXIT_SHUTDOWN
EXIT_BAD_ACCESS = <int>HL_EXIT_BAD_ACCESS

# An instruction of x86 has 15 bytes at the most.
cdef enum: MOST_CODE = 16


@cython.no_gc_clear
cdef class SandboxRun(SandboxTurn):
    """Running the guest, in the middle of a call."""

    cdef bint signalled  # a signal handler raised

    cdef int _begin(self) except -1:
        cdef int rc = hl_sandbox_begin(self.sandbox)
        if rc == -ECHILD:
            raise ValueError(FORKED)
        return check(rc, "begin")

    cdef int _run(self) except 0:
        cdef hl_sandbox *s = self.sandbox
        cdef hl_left left = HL_LEFT_BROKEN
        cdef int rc
        while True:
            gil_wanted()
            rc = hl_sandbox_run(s, &self.left, &left)
            gil_back()
            if rc == -ECHILD:
                raise ValueError(FORKED)
            check(rc, "run")
            if left != HL_LEFT_KICKED:
                return left
            self._check_signals()

    cdef int _check_signals(self) except -1:
        self.inside = "a signal handler"
        self.signalled = True
        PyErr_CheckSignals()
        self.signalled = False
        self.inside = None

    def resume(self):
        """Resume the guest; returns one of LEFT_*."""
        self._calling()
        return self._run()

    def left_by(self):
        """(reason, value, vector, error code, rip, cr2) of the last run."""
        return (<int>self.left.reason, self.left.value,
                self.left.frame.vector, self.left.frame.error,
                self.left.frame.rip, self.left.cr2)

    def code_at(self, uint64_t address):
        """Bytes of guest memory from there on: an instruction at the most."""
        cdef char code[MOST_CODE]
        cdef size_t n = hl_sandbox_peek(self._calling(), address, code,
                                        MOST_CODE)
        return code[:n]

    def left_detail(self):
        """The driver's details of the exception that ended the run, or ""."""
        return self.left.detail.decode()

    def interrupt(self, token):
        """End the call under way, if there is one; from any thread."""
        # It cannot be closed meanwhile: who closes needs the GIL to begin.
        self.refuse_fork()
        if self.sandbox != NULL and self.belongs_to(token):
            hl_sandbox_interrupt(self.sandbox)
