# Many calls of one function, with no Python in between.


@cython.no_gc_clear
cdef class SandboxBatch(SandboxCalls):
    """Batches: csrc/batch.h. What is to be done with errors is Python's."""

    cdef hl_batch batch  # its memory is given up by close
    cdef int refused  # why the batch's next call could not be run; 0: it was

    def run_batch(self, token, function, uint64_t limit, bint restores,
                  bint goes_on, work):
        """Call work(), which calls the methods below, as one call.

        However it ends, with `restores` the guest is put back to what was
        current at the start.

        Args:
            limit: ns that each call may take; 0 for no limit.
            goes_on: Whether results may be GuestErrors.
        """
        cdef SnapshotCore snapshot = None  # dropped after the turn
        cdef bytes name = function.encoded
        cdef hl_batch_config c
        memset(&c, 0, sizeof(c))
        c.name, c.name_size = PyBytes_AS_STRING(name), len(name)
        c.result, c.limit = <hl_type><int>function.result, limit
        c.goes_on = goes_on
        self._enter(HL_CALL, "map", token)
        try:
            if restores:
                snapshot = self.current
                if snapshot is None:  # never taken
                    raise ValueError("operation on a closed Sandbox")
                c.snapshot = snapshot._taken()
                c.state = PyBytes_AS_STRING(snapshot.state)
            self.refused = 0
            self.signalled = False
            self.left.reason = HL_EXIT_KICKED
            check(hl_batch_begin(&self.batch, self.sandbox, &c), "map")
            work()
        finally:
            self._end_batch()

    def __dealloc__(self):
        hl_batch_free(&self.batch)

    def close(self, token):
        """See SandboxTurn."""
        SandboxTurn.close(self, token)
        # A child of fork may close it in the middle of one.
        if self.closed and self.batch.sandbox == NULL:
            hl_batch_free(&self.batch)

    cdef int _end_batch(self) except -1:
        cdef int rc = 0
        if self.batch.sandbox != NULL:
            gil_wanted()
            rc = hl_batch_end(&self.batch)
            gil_back()
        self.inside = None
        self._leave()
        if rc == -ECHILD:
            raise ValueError(FORKED)
        return check(rc, "restore")

    cdef hl_batch *_batch(self) except NULL:
        """The batch that this thread is in the middle of."""
        self._calling()
        if self.batch.sandbox == NULL:
            raise RuntimeError("no batch is under way")
        return &self.batch

    def add(self, function, args):
        """Add a call; True where it is time to run them.

        Raises:
            TypeError, ValueError: As call(); it was not added.
        """
        cdef hl_batch *batch = self._batch()
        cdef str inside = self.inside
        if not isinstance(args, tuple):
            raise TypeError(
                f"{function.signature}: arguments are a tuple for each call, "
                f"not {brief(args)}")
        self._put_arguments(hl_batch_write(batch), function, tuple(args))
        self.inside = inside
        return hl_batch_add(batch)

    def run_added(self, list results):
        """Run what was added, and append what it gave.

        Returns None when all have run. Otherwise the next call is for the
        caller to finish and to pass over: one of LEFT_*, which is LEFT_READY
        for a result that is none, or that this call could not begin.
        """
        cdef hl_batch *batch = self._batch()
        cdef hl_left left = HL_LEFT_BROKEN
        cdef int rc
        while True:
            gil_wanted()
            rc = hl_batch_run(batch, &self.left, &left)
            gil_back()
            self._append(results)
            if rc == -ECHILD:
                raise ValueError(FORKED)
            if rc < 0:
                self.refused = rc
                return LEFT_READY
            if rc > 0:
                return <int>left
            if left == HL_LEFT_READY:
                return None
            self._check_signals()

    cdef int _append(self, list results) except -1:
        cdef const hl_batch_result *r
        while True:
            r = hl_batch_take(&self.batch)
            if r == NULL:
                return 0
            value = value_of(&r.values[0])
            if r.kind == HL_MESSAGE_ERROR:
                value = GuestError(value, value_of(&r.values[1]))
            results.append(value)

    def finish(self, function, int reason, timeout, server):
        """The result of the call that was left; see call()."""
        cdef int refused = self.refused
        failure = None
        self._batch()
        self.refused = 0
        if refused == -EBUSY:
            self._refuse(refused, "call")
        check(refused, "run")
        if reason != HL_LEFT_READY:
            failure = server.serve(function, timeout, reason)
        return self._result(function.result, failure)

    @property
    def stopped(self):
        """True if an interrupt or a signal handler ended the last run: not
        every GuestInterrupted is one, since host functions raise any error.
        """
        return self.signalled or self.left.reason == HL_EXIT_INTERRUPTED

    def pass_over(self):
        """Go on with the call after the one that was left."""
        hl_batch_pass_over(self._batch())
