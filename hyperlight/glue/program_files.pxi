# The files that a program sees.

TREE_ROOT = <int>HL_TREE_ROOT
TREE_FOLDER = <int>HL_TREE_FOLDER
TREE_FILE = <int>HL_TREE_FILE
TREE_LINK = <int>HL_TREE_LINK


def kernel_size(size_t file_pages):
    """Bytes of tracked memory for a program with so many pages of files."""
    return hl_linux_kernel_size(file_pages)


def call_name(number):
    """The name of a system call, or None."""
    cdef const char *name = hl_linux_call_name(number)
    return None if name == NULL else name.decode()


@cython.no_gc_clear
cdef class ProgramCore(ProgramTalk):
    """A program in its machine, and its files.

    What is given, is so by whoever is in the middle of a call, or before
    anybody else knows this object.
    """

    #: Bytes that files have as they are: C has their addresses.
    cdef dict kept

    cdef hl_linux *_giving(self) except NULL:
        if self.face is not None:
            self._calling()
        if self.kept is None:
            self.kept = {}
        return self._linux()

    def give(self, uint32_t folder, bytes name not None, int kind,
             uint32_t mode, uint64_t changed, uint64_t size=0,
             uint32_t source=0, bint fixed=False):
        """Put a node into a folder of its tree; returns its number."""
        cdef hl_linux_given given
        cdef uint32_t node = 0
        given.name, given.name_size = PyBytes_AS_STRING(name), len(name)
        given.kind = <hl_tree_kind>kind
        given.mode, given.changed, given.size = mode, changed, size
        given.source, given.fixed = source, fixed
        check(hl_linux_give(self._giving(), folder, &given, &node),
              f"file {name.decode(errors='replace')!r}")
        return node

    def give_bytes(self, uint32_t node, bytes data not None):
        """What a file holds, or where a link leads; kept, and not copied."""
        cdef hl_linux *l = self._giving()
        self.kept[id(data)] = data
        check(hl_linux_give_bytes(l, node, PyBytes_AS_STRING(data),
                                  len(data)), "file")

    def give_copy(self, uint32_t node, bytes data not None):
        """What a file holds, in the program's own memory."""
        check(hl_linux_give_copy(self._giving(), node,
                                 PyBytes_AS_STRING(data), len(data)), "file")

    def work_in(self, uint32_t node):
        """The folder that the program begins in."""
        check(hl_linux_work_in(self._giving(), node), "cwd")

    def asked(self):
        """(node, source) that the program asks for."""
        cdef hl_linux_ask ask = hl_linux_asked(self._giving())
        return ask.node, ask.source

    def answer(self, int error, bint again):
        """It was given, or is refused with this errno.

        again: the next call asks for it, too.
        """
        hl_linux_answer(self._giving(), -error, again)
