# Guests' files and page tables, and the emulator's library.


def set_emulator_library(str path not None):
    """Where the emulator is; remembered for the life of the process."""
    hl_emulator_set_library(os.fsencode(path))


@cython.final
cdef class ImageCore:
    """A guest's file, read once; it never changes.

    program: of Linux, which loads itself. ValueError: It is not a guest.
    """

    cdef bytes file
    cdef hl_elf elf

    def __cinit__(self, bytes file not None, bint program=False):
        cdef char why[HL_WHY_SIZE]
        cdef const char *data = PyBytes_AS_STRING(file)
        cdef size_t size = len(file)
        cdef int rc
        why[0] = 0
        with nogil:
            if program:
                rc = hl_elf_read_program(data, size, &self.elf, why)
            else:
                rc = hl_elf_read(data, size, &self.elf, why)
        if rc < 0:
            raise ValueError(
                f"not a {'program' if program else 'guest'}: {why.decode()}")
        self.file = file

    @property
    def facts(self):
        """What a layout has to know, as a dict."""
        cdef const hl_elf *elf = &self.elf
        return {
            "pie": bool(elf.pie),
            "entry": elf.entry,
            "low": elf.low,
            "high": elf.high,
            "writable": elf.writable,
            "tls_size": elf.tls_size,
            "tls_align": elf.tls_align,
            "interpreter": self.file[
                elf.interpreter:elf.interpreter + elf.interpreter_size],
            "segments": [(s.addr, s.size, s.perms)
                         for s in elf.segments[:elf.segment_count]],
        }


cdef size_t fill_regions(hl_x86_region *into, regions) except? 0:
    cdef size_t n = 0
    if len(regions) > HL_X86_REGIONS:
        raise ValueError(f"{len(regions)} regions are too many")
    for addr, size, perms in regions:
        into[n] = hl_x86_region(addr, size, perms)
        n += 1
    return n


def tables_size(addr, regions):
    """Bytes of page tables and the like that regions need."""
    cdef hl_x86_region list_[HL_X86_REGIONS]
    cdef size_t n = fill_regions(list_, regions)
    return hl_x86_tables_size(addr, list_, n)
