# Programs of Linux.

LIMIT_NONE = <int>HL_LINUX_NO_LIMIT
LIMIT_OUTPUT = <int>HL_LINUX_OUTPUT_LIMIT
LIMIT_CALLS = <int>HL_LINUX_CALLS_LIMIT
END_NONE = <int>HL_LINUX_RUNS
END_EXITED = <int>HL_LINUX_EXITED
END_SIGNALLED = <int>HL_LINUX_SIGNALLED

#: For the page tables of a program that is not baked yet.
PERM_ALL = <int>(HL_PERM_READ | HL_PERM_WRITE | HL_PERM_EXECUTE
                 | HL_PERM_BOTH)

#: Files that a program can have open.
MOST_FILES = <int>HL_LINUX_FILES


@cython.no_gc_clear
cdef class ProgramTalk(SandboxState):
    """A program in its machine: its start, requests, and what it says."""

    cdef bytes input  # C has its address

    def __init__(self, str driver not None, str tracker, bint adaptive,
                 ImageCore image not None, ImageCore interpreter, base, slots,
                 regions, spans not None, tuple start not None):
        """start: texts, how many of them are arguments, and variables."""
        cdef hl_sandbox_config c
        cdef bytes texts
        memset(&c, 0, sizeof(c))
        fill_plan(&c, image, base, slots, regions, spans)
        c.guest.kernel = span_of(spans["kernel"])
        if interpreter is not None:
            c.guest.interpreter = hl_image(
                PyBytes_AS_STRING(interpreter.file), len(interpreter.file),
                &interpreter.elf, 0)
        texts, arguments, variables = start
        c.guest.start = hl_start(PyBytes_AS_STRING(texts), len(texts),
                                 arguments, variables)
        self._make(&c, driver, tracker, "linux", adaptive)

    cdef hl_linux *_linux(self) except NULL:
        cdef hl_abi *abi = NULL
        if self.sandbox != NULL:
            abi = hl_sandbox_abi(self.sandbox)
        if abi == NULL:
            raise ValueError("operation on a closed Sandbox")
        return hl_linux_of(abi)

    def set_up(self, bytes stdin not None, output, calls, files,
               bint streams):
        """Standard input, and the limits."""
        cdef hl_linux_settings s
        cdef hl_linux *l = self._linux()
        s.output, s.calls, s.files, s.streams = output, calls, files, streams
        self.input = stdin
        hl_linux_set(l, &s)
        hl_linux_set_input(l, PyBytes_AS_STRING(stdin), len(stdin))

    def exchange(self, token, uint64_t limit, bytes request, uint64_t frozen,
                 serve):
        """Run the program until it waits for a request; what it answered.

        Args:
            limit: ns that it may take; 0 for no limit.
            request: None: nothing is asked, it starts.
            frozen: The time of day that it stays, in ns; 0: it goes on.
            serve: Called with one of LEFT_* that is not LEFT_READY, until it
                returns: by then the program is ready.
        """
        cdef int reason
        cdef hl_linux *l
        self._enter(HL_CALL, "request", token)
        try:
            l = self._linux()
            hl_sandbox_set_deadline(
                self.sandbox, hl_now() + limit if limit else 0)
            hl_linux_drop_output(l)
            hl_linux_freeze_time(l, frozen)
            if request is not None:
                hl_linux_request(l, PyBytes_AS_STRING(request), len(request))
            self._begin()
            reason = self._run()
            if reason != HL_LEFT_READY:
                serve(reason)
            answer = self._said(l, 2)
            hl_sandbox_end(self.sandbox)
            return answer
        finally:
            self.inside = None
            self._leave()

    cdef bytes _said(self, const hl_linux *l, int which):
        cdef size_t size = 0
        cdef const char *text = hl_linux_said(l, which, &size)
        return text[:size] if size else b""

    def output(self, token):
        """What it wrote to standard output and error; then that is dropped.

        From the middle of a call as well.
        """
        cdef hl_linux *l
        cdef bint mine = self.is_calling()
        if not mine:
            self._enter(HL_WORK, "output", token)
        try:
            l = self._linux()
            said = self._said(l, 0), self._said(l, 1)
            hl_linux_drop_output(l)
            return said
        finally:
            if not mine:
                self._leave()

    def ended(self):
        """(one of END_*, exit code or signal, one of LIMIT_*, calls made)."""
        cdef int number = 0
        self._calling()
        cdef hl_linux *l = self._linux()
        cdef int end = hl_linux_ended(l, &number)
        return end, number, <int>hl_linux_limit_of(l), hl_linux_calls_made(l)

    def refused(self):
        """How often which call was not served, by its number."""
        cdef size_t i
        self._calling()
        cdef hl_linux *l = self._linux()
        return {i: hl_linux_refused(l, i) for i in range(HL_LINUX_CALLS)
                if hl_linux_refused(l, i)}

    def bake(self, token):
        """Its trusted start is over: final rights, in a new machine."""
        cdef char why[HL_WHY_SIZE]
        cdef SnapshotCore old
        cdef int rc
        why[0] = 0
        self._enter(HL_WORK, "bake", token)
        gil_wanted()
        rc = hl_sandbox_bake(self.sandbox, why)
        gil_back()
        old = self.current
        if rc == 0:
            self.current = None
        self._leave()
        if rc < 0:
            raise OSError(-rc, f"bake: {why.decode('utf-8', 'replace')}")
