"""What ended a guest, in words."""

from __future__ import annotations

from collections.abc import Callable

from hyperlight._binding import core
from hyperlight.errors import GuestAborted
from hyperlight.sandbox.layout import MemoryLayout

__all__ = ["describe_fault"]

# Intel SDM vol. 3, table 6-1.
_VECTORS = {
    0: "divide error",
    1: "debug exception",
    2: "NMI",
    3: "breakpoint",
    4: "overflow",
    5: "bound range exceeded",
    6: "invalid opcode",
    7: "device not available",
    8: "double fault",
    10: "invalid TSS",
    11: "segment not present",
    12: "stack segment fault",
    13: "general protection",
    14: "page fault",
    16: "x87 floating-point error",
    17: "alignment check",
    18: "machine check",
    19: "SIMD floating-point error",
    21: "control protection",
}
_INVALID_OPCODE, _GENERAL_PROTECTION, _PAGE_FAULT = 6, 13, 14
_ERROR_WRITE, _ERROR_FETCH = 2, 16
_PAGE = 4096

_SYSCALL, _INT_80 = b"\x0f\x05", b"\xcd\x80"
#: What programs ask a kernel with: syscall, sysenter, int $0x80.
_SYSTEM_CALLS = (_SYSCALL, b"\x0f\x34", _INT_80)

_ERROR_INT_80 = 0x80 << 3 | 2  # the gate 0x80 of the IDT

#: read(address, size): bytes of guest memory, fewer or none where there is no
#: memory of the guest.
Read = Callable[[int, int], bytes]


def describe_fault(
    left: tuple[int, int, int, int, int, int],
    layout: MemoryLayout,
    *,
    read: Read | None = None,
    rcx: int | None = None,
    detail: str = "",
) -> GuestAborted:
    """The error for a run that did not end with a call.

    Args:
        left: Reason and value of the exit; vector and error code of the
            exception, rip, cr2.
        layout: The guest's.
        read: Reads the guest's memory. With it, a system call is told from
            other faults.
        rcx: The guest's register. With it, also one that jumped away.
        detail: What the driver knows of an exception besides its number.
    """
    reason, value, vector, code, rip, cr2 = left
    if reason == core.EXIT_EXCEPTION:
        call = _system_call(vector, code, rip, layout, read, rcx)
        if call is not None:
            if vector == _PAGE_FAULT:
                # Of a jump, not the guest's doing. As where it is refused.
                vector, code = _INVALID_OPCODE, 0
            return GuestAborted(
                f"system call at {call:#x}{_in_region(layout, call)}: a guest "
                f"has no kernel",
                vector,
                code,
                call,
            )
        name = _VECTORS.get(vector, "exception")
        where = f"at {rip:#x}{_in_region(layout, rip)}"
        if detail:
            return GuestAborted(f"{detail} {where}", vector, code, rip)
        if vector != _PAGE_FAULT:
            return GuestAborted(
                f"{name} (vector {vector}, error code {code:#x}) {where}",
                vector,
                code,
                rip,
            )
        return GuestAborted(
            f"{name} {where}: {_access(layout, code, cr2)}",
            vector,
            code,
            rip,
            cr2,
        )
    if reason == core.EXIT_SHUTDOWN:
        return GuestAborted("triple fault")
    if reason == core.EXIT_BAD_ACCESS:
        return GuestAborted(f"access to {value:#x}, which is not memory")
    if reason == core.EXIT_CALL:
        return GuestAborted(f"the guest exited for no valid reason ({value})")
    return GuestAborted(f"the machine stopped for an unknown reason ({value})")


def _system_call(
    vector: int,
    code: int,
    rip: int,
    layout: MemoryLayout,
    read: Read | None,
    rcx: int | None,
) -> int | None:
    """The address of the system call that caused an exception, or None.

    A processor on which system calls are off raises an exception there. A
    hypervisor may have them on: then ``syscall`` jumps to where the guest has
    nothing, with the address behind the instruction in RCX.
    """
    if read is None:
        return None
    if _is_code(layout, rip):
        if vector not in (_INVALID_OPCODE, _GENERAL_PROTECTION):
            return None
        found = read(rip, 3)
        if found[:1] and found[0] >> 4 == 4:  # REX, which changes nothing
            found = found[1:]
        if found[:2] in _SYSTEM_CALLS:
            return rip
        # Unicorn reports a refused int by the address behind it.
        refused = code == _ERROR_INT_80 and read(rip - 2, 2) == _INT_80
        return rip - 2 if refused else None
    # Jumped: to where nothing is, or to a page that the guest does not have.
    region = layout.find(rip)
    if region is not None and region.permissions != "---":
        return None
    if rcx is None or vector not in (_INVALID_OPCODE, _PAGE_FAULT):
        return None
    before = rcx - len(_SYSCALL)
    if not _is_code(layout, before):
        return None
    return before if read(before, len(_SYSCALL)) == _SYSCALL else None


def _is_code(layout: MemoryLayout, address: int) -> bool:
    region = layout.find(address)
    return region is not None and "x" in region.permissions


def _access(layout: MemoryLayout, code: int, address: int) -> str:
    verb = "read of"
    if code & _ERROR_FETCH:
        verb = "execution of"
    elif code & _ERROR_WRITE:
        verb = "write to"
    region = layout.find(address)
    if region is not None:
        return f"{verb} {address:#x} in {region.name} ({region.permissions})"
    stack = layout["stack"]
    if stack.address - _PAGE <= address < stack.address:
        return f"{verb} {address:#x}: stack overflow"
    return f"{verb} {address:#x}, where nothing is mapped"


def _in_region(layout: MemoryLayout, address: int) -> str:
    region = layout.find(address)
    return f" in {region.name}" if region is not None else ""
