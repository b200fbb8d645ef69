"""What ended a guest, in words."""

from __future__ import annotations

from hyperlight._binding import core
from hyperlight.errors import GuestAborted
from hyperlight.layout import MemoryLayout

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
_PAGE_FAULT = 14
_ERROR_WRITE, _ERROR_FETCH = 2, 16
_PAGE = 4096


def describe_fault(
    left: tuple[int, int, int, int, int, int],
    layout: MemoryLayout,
    detail: str = "",
) -> GuestAborted:
    """The error for a run that did not end with a call.

    Args:
        left: What the core says of it.
        layout: Where things are in the guest's memory.
        detail: What the driver knows of an exception besides its number.
    """
    reason, value, vector, code, rip, cr2 = left
    if reason == core.EXIT_EXCEPTION:
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
        return GuestAborted(f"access to {value:#x}, where there is no memory")
    if reason == core.EXIT_CALL:
        return GuestAborted(f"the guest left for no known reason ({value})")
    return GuestAborted(f"the guest did what a guest cannot do ({value})")


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
