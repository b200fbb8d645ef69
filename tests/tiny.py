"""Guests of a few bytes, written by hand: no compiler, no SDK, no manners."""

from __future__ import annotations

import struct

CODE, DATA = 0x400000, 0x401000

CALL, RESULT, ERROR, LOG, FUNCTIONS = range(1, 6)
READY, HOST_CALL, LOG_LINE, ABORT = range(1, 5)
NONE, I32, I64, U32, U64, F32, F64, BOOL, STR, BYTES = range(10)

_MAGIC = 0x67736D6C


def value(kind: int, content: int | bytes) -> bytes:
    """One value of a message."""
    if isinstance(content, bytes):
        padding = bytes(-len(content) % 8)
        return struct.pack("<IIQ", kind, 0, len(content)) + content + padding
    return struct.pack("<IIQ", kind, 0, content & (2**64 - 1))


def message(kind: int, *values: bytes, result: int = 0) -> bytes:
    """A whole message."""
    body = b"".join(values)
    head = struct.pack(
        "<IIQII", _MAGIC, kind, 24 + len(body), len(values), result
    )
    return head + body


def functions(*signatures: str) -> bytes:
    """What a guest exports."""
    texts = [value(STR, text.encode()) for text in signatures]
    return message(FUNCTIONS, *texts)


def elf(code: bytes, data: bytes = bytes(8)) -> bytes:
    """A program: code at CODE, writable data at DATA."""
    assert len(code) <= 4096
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        *(2, 62, 1, CODE, 64, 0, 0, 64, 56, 2, 64, 0, 0),
    )
    at = 4096
    loads = b"".join(
        struct.pack("<IIQQQQQQ", 1, flags, offset, addr, addr, size, size, at)
        for flags, offset, addr, size in (
            (5, at, CODE, len(code)),
            (6, 2 * at, DATA, len(data)),
        )
    )
    return (
        (header + loads).ljust(at, b"\0")
        + code.ljust(at, b"\x90")
        + data
    )  # fmt: skip


_TO_OUTPUT = bytes.fromhex("488b7b30")  # mov 0x30(%rbx), %rdi
_OUT = b"\xe6\x48"  # out %al, $0x48


def guest(body: bytes, *signatures: str) -> bytes:
    """Comes up exporting these functions; `body` runs when one is called.

    It has the address of the call in RAX and of its info in RBX.
    """
    exports = functions(*(signatures or ("Go() -> none",)))
    start = (
        bytes.fromhex("4889fb")  # mov %rdi, %rbx
        + _TO_OUTPUT
        + b"\x48\xbe" + DATA.to_bytes(8, "little")  # mov $DATA, %rsi
        + b"\x48\xb9" + len(exports).to_bytes(8, "little")  # mov ..., %rcx
        + b"\xf3\xa4"  # rep movsb
        + b"\xb8\x01\x00\x00\x00" + _OUT  # mov $1, %eax
    )  # fmt: skip
    return elf(start + body, exports)


def parrot(*, spins: bool = False) -> bytes:
    """``Raw(bytes) -> none`` leaves with what it is given.

    The first 8 bytes are the reason, the others go to the output buffer.
    Where the reason was none that ends a call, it says READY afterwards, with
    whatever is in the output buffer then; or it spins.
    """
    body = (
        bytes.fromhex("488b4838")  # mov 0x38(%rax), %rcx
        + bytes.fromhex("488b5040")  # mov 0x40(%rax), %rdx
        + bytes.fromhex("488d7048")  # lea 0x48(%rax), %rsi
        + bytes.fromhex("4883e908")  # sub $8, %rcx
        + _TO_OUTPUT
        + b"\xf3\xa4"  # rep movsb
        + bytes.fromhex("4889d0")  # mov %rdx, %rax
        + _OUT
        + bytes.fromhex("4883fa01")  # cmp $1, %rdx
    )
    body += b"\x74" + (-len(body) - 2).to_bytes(1, "little", signed=True)
    if spins:
        body += b"\xeb\xfe"  # jmp itself
    body += b"\xb8\x01\x00\x00\x00" + _OUT  # mov $1, %eax
    body += b"\xeb" + (-len(body) - 2).to_bytes(1, "little", signed=True)
    return guest(body, "Raw(bytes) -> none")


def reporter(act: bytes, report: bytes, size: int) -> bytes:
    """``Go(bool) -> bytes`` does `act` if told to, and reports.

    `report` writes `size` bytes to 0x28 behind the output's start, whose
    address it takes from 0x30(%rbx) into RDI. It may use RAX.
    """
    head = message(RESULT, value(BYTES, bytes(size)))[:40]
    body = bytes.fromhex("80783800")  # cmpb $0, 0x38(%rax)
    body += b"\x0f\x84" + len(act).to_bytes(4, "little") + act  # je behind
    body += report
    for i in range(0, len(head), 8):
        body += b"\x48\xb8" + head[i : i + 8]  # mov $..., %rax
        body += bytes.fromhex("488947") + bytes([i])  # mov %rax, i(%rdi)
    body += b"\xb8\x01\x00\x00\x00" + _OUT
    body += b"\xe9" + (-len(body) - 5).to_bytes(4, "little", signed=True)
    return guest(body, "Go(bool) -> bytes")
