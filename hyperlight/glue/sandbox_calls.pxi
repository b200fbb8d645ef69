# Calls.


@cython.no_gc_clear
cdef class SandboxCalls(SandboxTalk):
    """The start of a guest, and calls of its functions."""

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
            hl_call_nothing(self.io)
            self._begin()
            reason = self._run()
            if reason != HL_LEFT_READY:
                serve(reason)
            texts = self.message(MESSAGE_FUNCTIONS)
            hl_sandbox_end(self.sandbox)
            return texts
        finally:
            self._leave()

    def call(self, token, function, tuple args not None, uint64_t limit,
             timeout, server):
        """Call a GuestFunction; see start() for `limit`.

        `server.serve(function, timeout, reason)` is called as there. What it
        returns, an exception of a host function's or None, is raised where the
        guest passed that failure on.

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
            self._begin()
            reason = self._run()
            if reason != HL_LEFT_READY:
                failure = server.serve(function, timeout, reason)
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
            self._begin()
            start = hl_now()
            self._run()
            end = hl_now()
            self._result(function.result, None)
            return end - start
        finally:
            self._leave()

    cdef int _write_call(self, function, tuple args) except -1:
        cdef bytes name = function.encoded
        check(hl_call_begin(self.io, PyBytes_AS_STRING(name), len(name)),
              "call")
        self._put_arguments(&self.io.writer, function, args)
        return check(hl_call_end(self.io), "call")

    cdef int _put_arguments(self, hl_wire_writer *w, function,
                            tuple args) except -1:
        """Write a call's arguments, which may run foreign Python code."""
        cdef bytes types = function.arguments
        cdef Py_ssize_t i, n = len(args)
        cdef const char *codes = PyBytes_AS_STRING(types)
        if n != len(types):
            raise TypeError(
                f"{function.signature}: takes "
                f"{count(len(types), 'argument')}, not {n}")
        self.inside = "an argument's own code"
        for i in range(n):
            try:
                put_value(w, codes[i], args[i])
            except REFUSALS as error:
                raise refusal(error)(
                    f"{function.signature}: argument {i + 1}, "
                    f"{brief(args[i])}, is not a valid "
                    f"{TYPES[codes[i]]}: {error}") from None
        self.inside = None
        return 0

    cdef object _result(self, int code, failure):
        """The value of the type that the guest left, ending the call.

        Raises:
            GuestError: It left an error instead; the call has ended.
            GuestAborted: It left something else; the call has not ended.
            failure: If the error is that a host function had failed.
        """
        if hl_call_open_result(self.io, <hl_type>code) < 0:
            raise malformed(self.io.wrong)
        cdef list values = self._values()
        hl_sandbox_end(self.sandbox)
        if self.io.kind == HL_MESSAGE_RESULT:
            return values[0]
        if failure is not None and values[0] == HL_ERROR_HOST:
            raise failure
        raise GuestError(*values)
