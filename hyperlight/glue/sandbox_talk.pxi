# What a guest leaves, and what is answered.

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

MESSAGE_CALL = <int>HL_MESSAGE_CALL
MESSAGE_RESULT = <int>HL_MESSAGE_RESULT
MESSAGE_ERROR = <int>HL_MESSAGE_ERROR
MESSAGE_LOG = <int>HL_MESSAGE_LOG
MESSAGE_FUNCTIONS = <int>HL_MESSAGE_FUNCTIONS

ERROR_NO_FUNCTION = <int>HL_ERROR_NO_FUNCTION
ERROR_ARGUMENTS = <int>HL_ERROR_ARGUMENTS
ERROR_HOST = <int>HL_ERROR_HOST

#: Bytes of the input region that calls leave to the replies of host functions.
REPLY_SIZE = <int>HL_REPLY_ROOM

# An instruction of x86 has 15 bytes at the most.
cdef enum: MOST_CODE = 16


@cython.no_gc_clear
cdef class SandboxTalk(SandboxTurn):
    """Running the guest, its messages, replies to them; inside of a call."""

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

    def message(self, int kind):
        """The values of the message that the guest left.

        Raises:
            GuestAborted: It is not a message of that kind.
        """
        self._calling()
        if hl_call_open(self.io, <hl_message_kind>kind) < 0:
            raise malformed(self.io.wrong)
        return self._values()

    def wanted(self):
        """The type of the result that the message read last asks for."""
        self._calling()
        return <int>self.io.reader.result

    cdef list _values(self):
        cdef hl_wire_value v
        cdef list values = []
        cdef int rc
        try:
            while True:
                rc = hl_call_next(self.io, &v)
                if rc <= 0:
                    break
                values.append(value_of(&v))
        except ValueError:
            raise malformed(b"text that is not UTF-8") from None
        if rc < 0:
            raise malformed(self.io.wrong)
        return values

    def reply(self, int code, value):
        """Write the result of a host function.

        If it does not have the requested type, raises TypeError or ValueError,
        and the guest waits for another reply. May raise any exception of the
        value's own code.
        """
        self._calling()
        hl_call_reply(self.io)
        try:
            put_value(&self.io.writer, code,
                      None if code == HL_NONE else value)
        except REFUSALS as error:
            raise refusal(error)(str(error)) from None
        self._replied(HL_MESSAGE_RESULT)

    def reply_error(self, int code, str text not None):
        """Write that a host function failed."""
        self._calling()
        hl_call_reply(self.io)
        put_value(&self.io.writer, HL_I32, code)
        put_value(&self.io.writer, HL_STR, text[:200].encode(
            "utf-8", "replace").decode())
        self._replied(HL_MESSAGE_ERROR)

    cdef int _replied(self, hl_message_kind kind) except -1:
        check(hl_call_replied(self.io, kind), "reply")
        return self._begin()
