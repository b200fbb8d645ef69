# Guests' files and page tables, and the emulator's library.


def set_emulator_library(str path not None):
    """Where the emulator is; remembered for the life of the process."""
    hl_emulator_set_library(os.fsencode(path))


cdef int read_elf(bytes file, hl_elf *elf) except -1:
    cdef char why[HL_WHY_SIZE]
    cdef const char *data = PyBytes_AS_STRING(file)
    cdef size_t size = len(file)
    cdef int rc
    why[0] = 0
    with nogil:
        rc = hl_elf_read(data, size, elf, why)
    if rc < 0:
        raise ValueError(f"not a guest: {why.decode()}")
    return 0


def elf_facts(bytes file not None):
    """The facts of a guest's file, as a dict; ValueError: not a guest."""
    cdef hl_elf elf
    read_elf(file, &elf)
    return {
        "pie": bool(elf.pie),
        "entry": elf.entry,
        "low": elf.low,
        "high": elf.high,
        "writable": elf.writable,
        "tls_size": elf.tls_size,
        "tls_align": elf.tls_align,
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
