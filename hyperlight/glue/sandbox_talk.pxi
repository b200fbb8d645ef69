# What a guest of the native ABI leaves, and what is answered.

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


@cython.no_gc_clear
cdef class SandboxTalk(SandboxState):
    """The guest's messages and replies to them, in the middle of a call."""

    cdef hl_call *io  # the sandbox's; used by who has the turn

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
