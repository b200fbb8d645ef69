"""Text of guests in logs, and of their faults."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable

import pytest
from conftest import HERE

from hyperlight import (
    GuestAborted,
    MemoryLayout,
    Region,
)
from hyperlight._binding import core
from hyperlight.sandbox.faults import describe_fault
from hyperlight.sandbox.log import LINE, GuestLog
from hyperlight.text import (
    printable,
)

HOSTILE = "hi\nCRITICAL root the disk\r\x1b[2J\u202e\u2028\x9b\0\x7f\ud800"


# Escaping.


def test_log_lines_are_escaped(records: list[logging.LogRecord]) -> None:
    log = GuestLog("name", 10, 10**6)
    log.line(20, HOSTILE)
    log.line(30, "%s %d %(x)s {} [red]")
    assert log.end() == (0, 0)
    first, second = records
    assert first.getMessage() == printable(HOSTILE)
    assert first.guest == "name"  # type: ignore[attr-defined]
    assert second.getMessage() == "%s %d %(x)s {} [red]"
    assert (first.levelno, second.levelno) == (20, 30)


@pytest.mark.parametrize("level", [-(2**31), 0, 19, 51, 2**31 - 1])
def test_any_level_will_do(
    records: list[logging.LogRecord], level: int
) -> None:
    GuestLog("name", 10, 100).line(level, "text")
    assert [r.levelno for r in records] == ([50] if level > 50 else [])


DROPPED = (
    "dropped 3 lines (5 bytes) of the guest's log: the limits of a call are "
    "log_lines=2 and log_bytes=1000000"
)


def test_lines_over_the_limit_are_counted_and_said_once(
    records: list[logging.LogRecord],
) -> None:
    log = GuestLog("name", 2, 10**6)
    for _ in range(2):
        log.begin()
        records.clear()
        for text in ("a", "b", "c", "dé", "e"):
            log.line(20, text)
        assert (log.dropped_lines, log.dropped_bytes) == (3, 5)
        assert log.end() == (3, 5)
        assert log.end() == (0, 0)
        assert [r.getMessage() for r in records] == [
            "a",
            "b",
            DROPPED,
        ]
        assert records[-1].levelno == logging.WARNING


def test_bytes_count_as_they_are_logged(
    records: list[logging.LogRecord],
) -> None:
    log = GuestLog("name", 100, 8)
    log.line(20, "\x1b" * 2)  # eight characters
    log.line(20, "")
    log.line(20, "x")
    log.line(20, "")  # behind one that was dropped
    assert len(records) == 2
    assert log.end() == (2, 1)


def test_nothing_may_be_logged_at_all(
    records: list[logging.LogRecord],
) -> None:
    log = GuestLog("name", 0, 0)
    log.line(20, "text")
    assert log.end() == (1, 4)
    assert len(records) == 1


def test_a_line_is_cut(records: list[logging.LogRecord]) -> None:
    GuestLog("name", 10, 10**6).line(20, "x" * (LINE + 5))
    assert records[0].getMessage().endswith("x... (5 more characters)")


def test_lines_that_nobody_wants_are_not_counted(
    records: list[logging.LogRecord],
) -> None:
    log = GuestLog("name", 1, 100)
    for _ in range(5):
        log.line(10, "debug")
    log.line(20, "info")
    assert log.end() == (0, 0)
    assert len(records) == 1


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_what_a_handler_raises_is_the_hosts_own(
    records: list[logging.LogRecord],
    monkeypatch: pytest.MonkeyPatch,
    kind: type[BaseException],
) -> None:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise kind

    logger = logging.getLogger("hyperlight.guest")
    handler = Handler()
    log = GuestLog("name", 1, 100)
    logger.addHandler(handler)
    try:
        with pytest.raises(kind):
            log.line(20, "first")
        log.line(20, "second")
        with pytest.raises(kind):
            log.end()
    finally:
        logger.removeHandler(handler)
    assert log.end() == (0, 0)


# Faults.


LAYOUT = MemoryLayout(
    [
        Region("tables", 0x10000, 0x4000, "---", "tables"),
        Region("code", 0x400000, 0x1000, "r-x", "read-only"),
        Region("data", 0x402000, 0x1000, "rw-", "tracked"),
        Region("stack", 0x404000, 0x2000, "rw-", "tracked"),
    ]
)
MEMORY = {
    0x400100: b"\x0f\x05\xc3",
    0x400200: b"\x48\x0f\x05",
    0x400300: b"\x0f\x34\xc3",
    0x400400: b"\xcd\x80\xc3",
    0x400500: b"\x0f\x0b\xc3",
    0x402100: b"\x0f\x05\xc3",
}


def read(address: int, size: int) -> bytes:
    for start, data in MEMORY.items():
        if start <= address < start + len(data):
            return data[address - start :][:size]
    return b""


def fault(
    vector: int,
    rip: int,
    rcx: int | None = None,
    code: int = 0,
    cr2: int = 0,
    reader: Callable[[int, int], bytes] | None = read,
) -> GuestAborted:
    left = (core.EXIT_EXCEPTION, 0, vector, code, rip, cr2)
    return describe_fault(left, LAYOUT, read=reader, rcx=rcx)


@pytest.mark.parametrize(
    ("vector", "rip"),
    [(6, 0x400100), (6, 0x400200), (13, 0x400300), (13, 0x400400)],
)
def test_a_refused_system_call_is_named(vector: int, rip: int) -> None:
    error = fault(vector, rip, code=8)
    assert str(error).startswith(f"system call at {rip:#x} in code:")
    assert (error.vector, error.error_code, error.rip) == (vector, 8, rip)
    assert error.cr2 is None


def test_a_refused_int_may_be_reported_behind_it() -> None:
    assert "system call at 0x400400 in" in str(fault(13, 0x400402, code=0x402))
    assert "general protection" in str(fault(13, 0x400402, code=0))


@pytest.mark.parametrize("lstar", [0, 0x11000, 0xFFFFFFFF80000000])
def test_a_system_call_that_jumped_is_named(lstar: int) -> None:
    for vector, code in ((14, 0x14), (6, 0)):
        error = fault(vector, lstar, 0x400102, code, lstar)
        assert str(error).startswith("system call at 0x400100 in code:")
        assert (error.vector, error.error_code) == (6, 0)
        assert error.rip == 0x400100
    assert "0x400201" in str(fault(14, lstar, 0x400203, 0x14))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (fault(6, 0x400500), "invalid opcode"),
        (fault(6, 0x400100, reader=None), "invalid opcode"),
        (fault(6, 0x400FFF), "invalid opcode"),
        # Data that has the bytes, and no code.
        (fault(14, 0x402100, 0x402102, 0x15, 0x402100), "execution of 0x4021"),
        (fault(14, 0, 0x402102, 0x14), "execution of 0x0"),
        # A jump to nowhere by something else.
        (fault(14, 0, 0x400502, 0x14), "execution of 0x0"),
        (fault(14, 0, 1, 0x14), "execution of 0x0"),
        (fault(14, 0, None, 0x14), "execution of 0x0"),
        (fault(3, 0x400100), "breakpoint"),
        (fault(14, 0x400100, 0x400102, 2, 8), "write to 0x8"),
    ],
)
def test_other_faults_are_no_system_calls(
    error: GuestAborted, says: str
) -> None:
    assert says in str(error)


def test_a_terminal_gets_no_escapes_of_an_uncaught_error() -> None:
    script = "import hyperlight; raise hyperlight.GuestError(1, '\\x1b[2J\\n')"
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=False,
        timeout=60,
        cwd=HERE,
    )
    assert b"GuestError: \\x1b[2J\\n (code 1)" in result.stderr
    assert b"\x1b[2J" not in result.stderr.splitlines()[-1]
