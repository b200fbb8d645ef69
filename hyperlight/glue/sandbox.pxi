# Guests of the native ABI.


@cython.no_gc_clear
cdef class SandboxCore(SandboxBatch):
    """A guest in its machine, with calls and snapshots."""

    def __init__(self, str driver not None, str tracker, str abi,
                 bint adaptive, ImageCore image not None, base, slots,
                 regions, spans not None):
        cdef hl_sandbox_config c
        cdef hl_abi_config *guest = &c.guest
        memset(&c, 0, sizeof(c))
        fill_plan(&c, image, base, slots, regions, spans)
        guest.thread = span_of(spans["thread"])
        guest.input = span_of(spans["input"])
        guest.output = span_of(spans["output"])
        self._make(&c, driver, tracker, abi, adaptive)
        self.io = native_call(hl_sandbox_abi(self.sandbox))


cdef hl_call *native_call(hl_abi *abi) except NULL:
    if abi.ops.messages == NULL:
        raise ValueError(
            f"guest ABI {abi.ops.name.decode()!r}: it has no messages")
    return abi.ops.messages(abi)
