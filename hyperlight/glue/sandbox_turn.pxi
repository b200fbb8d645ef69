# Whose turn it is with a guest.

cdef str FORKED = (
    "this sandbox belongs to the process that made it: a child of fork can "
    "only close it")


@cython.no_gc_clear
cdef class SandboxTurn(SandboxOwner):
    """Entering and leaving, claims, and the end."""

    cdef int _enter(self, hl_state wanted, str what, token) except -1:
        """Wait for the turn, and have it until _leave.

        The pointer stays good: whoever calls a method holds the object.
        """
        cdef int rc = self._come_in(wanted, token)
        return 0 if rc == 0 else self._refuse(rc, what)

    cdef int _come_in(self, hl_state wanted, token) except? -1:
        """As _enter(), but raises only what a signal handler does."""
        cdef hl_sandbox *s = self.sandbox
        cdef int rc
        if s == NULL or not self.belongs_to(token):
            return -EBADF
        rc = hl_sandbox_enter(s, wanted, False)  # with the GIL: face stays
        if rc == -EAGAIN:
            hl_turn_queue(hl_sandbox_turn(s))
            try:
                rc = self._wait(wanted, token)
            finally:
                hl_turn_unqueue(hl_sandbox_turn(s))
        return rc

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
                return -EBADF
            rc = hl_sandbox_enter(self.sandbox, wanted, True)
        return rc

    cdef int _refuse(self, int rc, str what) except -1:
        """Raise the error for a failed enter."""
        if rc == -EBADF:
            raise ValueError("operation on a closed Sandbox")
        if rc == -ECHILD:
            raise ValueError(FORKED)
        if rc == -EDEADLK:
            raise RuntimeError(
                f"{what} inside of {self.inside or 'its own call'}: the guest "
                f"is in the middle of a call; wait until the call has ended")
        if rc == -EBUSY:
            raise SandboxPoisoned(
                f"{what} of a poisoned sandbox: its last call did not end "
                f"normally; restore it first")
        return check(rc, what)

    cdef int _leave(self) except -1:
        """Give the turn back.  Raises nothing."""
        hl_sandbox_leave(self.sandbox)
        return 0

    cdef hl_sandbox *_calling(self) except NULL:
        """The sandbox, of which this thread is in the middle of a call."""
        if not self.is_calling():
            raise RuntimeError("no call is under way")
        return self.sandbox

    cdef bint is_calling(self) noexcept:
        """Whether this thread is in the middle of a call."""
        return (self.sandbox != NULL
                and hl_turn_is_mine(hl_sandbox_turn(self.sandbox)))

    cpdef bint belongs_to(self, token) noexcept:
        """Whether this token's holder may use it."""
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
        """A call did not end normally, and no restore has followed."""
        self.refuse_fork()
        return (self.sandbox != NULL and hl_turn_state(
            hl_sandbox_turn(self.sandbox)) == HL_POISONED)

    def close(self, token):
        """Free everything; a second call does nothing.

        Waits for a call under way on another thread.
        """
        cdef hl_sandbox *s = self.sandbox
        cdef SnapshotCore old
        cdef int rc
        if s == NULL or self.closed or not self.belongs_to(token):
            return
        if not self.forked:
            try:
                rc = self._come_in(HL_WORK, token)
                if rc == -EBADF:  # somebody else did it meanwhile
                    return
                if rc < 0 and rc != -ECHILD:  # a signal handler forked
                    self._refuse(rc, "close")
            except RuntimeError:
                if is_finalizing():  # it goes with the process
                    return
                raise
        old, self.current = self.current, None
        with nogil:
            hl_sandbox_close(s)
