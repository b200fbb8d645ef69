"""What people read: guests' text is escaped and cut, errors say the truth."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from conftest import HERE
from hypothesis import given
from hypothesis import strategies as st

from hyperlight import (
    EmulatorWarning,
    GuestAborted,
    GuestError,
    GuestInterrupted,
    GuestTimeout,
    LimitExceeded,
    MemoryLayout,
    Region,
    TrackerMissedPage,
    TrackerUnavailable,
)
from hyperlight._binding import core
from hyperlight.sandbox.faults import describe_fault
from hyperlight.sandbox.functions import parse_signature
from hyperlight.sandbox.log import LINE, GuestLog
from hyperlight.text import (
    LONGEST,
    brief,
    count,
    listed,
    printable,
    sentence_of,
    type_name,
)

HOSTILE = "hi\nCRITICAL root the disk\r\x1b[2J\u202e\u2028\x9b\0\x7f\ud800"


# Escaping.


@given(st.text())
def test_printable_is_one_line_that_a_terminal_only_shows(text: str) -> None:
    shown = printable(text, 10**6)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert printable(shown, 10**6) == shown
    if text.isprintable():
        assert shown == text


@given(st.text(), st.integers(0, 30))
def test_printable_says_how_much_was_left_out(text: str, limit: int) -> None:
    shown = printable(text, limit)
    whole = printable(text, 10**6)
    if len(whole) <= limit:
        assert shown == whole
        return
    kept, _, mark = shown.rpartition("... (")
    assert len(kept) <= limit
    assert whole.startswith(kept)
    left = int(mark.split()[0])
    assert printable(text[: len(text) - left], 10**6) == kept
    assert len(shown) < limit + 60


def test_printable_by_name() -> None:
    assert printable("\n\t\x1b\x9b\u202e\u200b\ud800\U000e0001\xad") == (
        r"\n\t\x1b\x9b\u202e\u200b\ud800\U000e0001\xad"
    )
    assert printable("naïve ☃ 日本 \\ %s [red]") == "naïve ☃ 日本 \\ %s [red]"


def test_printable_looks_at_what_it_shows_only() -> None:
    """A huge text costs no more than its beginning."""

    class Text(str):
        seen = 0

        def __iter__(self) -> Iterator[str]:
            for character in str.__iter__(self):
                Text.seen += 1
                yield character

    assert printable(Text("\n" * 10**6), 100).startswith(r"\n\n")
    assert Text.seen < 100


def test_counts_and_lists() -> None:
    assert count(0, "page") == "0 pages"
    assert count(1, "page") == "1 page"
    assert listed([f"f{i:02}" for i in range(99)], 2) == "f00, f01 and 97 more"
    assert listed([]) == "none"
    assert str(TrackerMissedPage("uffd", [7])).endswith("missed 1 page: 7")


class Ran(BaseException):
    """Foreign code ran."""


class Mischief:
    """A value whose every method is foreign code."""

    ran = 0

    def _run(self, *args: object) -> str:
        Mischief.ran += 1
        raise Ran

    __repr__ = __str__ = __index__ = __float__ = __format__ = _run  # type: ignore[assignment]
    __eq__ = __hash__ = __len__ = __bool__ = _run  # type: ignore[assignment]

    @property
    def __class__(self) -> type:
        self._run()
        return int

    @__class__.setter
    def __class__(self, value: type) -> None:
        pass


class Int(int):
    __repr__ = __str__ = __index__ = Mischief._run  # type: ignore[assignment]


class Str(str):
    __slots__ = ()
    __repr__ = __str__ = __len__ = __getitem__ = Mischief._run  # type: ignore[assignment]


def test_brief_runs_no_foreign_code() -> None:
    assert brief(Mischief()) == "a value of type Mischief"
    assert brief(Int(5)) == "a value of type Int"
    assert brief(Str("x")) == "a value of type Str"
    assert Mischief.ran == 0


def test_brief_is_brief() -> None:
    """And costs nothing: repr of a large int fails, of large text copies."""
    for value in (10**5000, -(10**5000), "x" * 10**7, b"x" * 10**7, [0] * 99):
        assert len(brief(value)) < 100
    assert brief("\x1b" * 99).isprintable()
    assert [brief(v) for v in (None, True, 1.5, -3, "a", b"b")] == [
        "None",
        "True",
        "1.5",
        "-3",
        "'a'",
        "b'b'",
    ]


def test_type_names_may_be_anything() -> None:
    class Meta(type):
        @property
        def __name__(cls) -> str:  # type: ignore[override]
            raise Ran

    assert type_name(Meta("A\x1b[2J", (), {})()) == r"A\x1b[2J"


def test_exceptions_may_have_no_text() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert sentence_of(Silent()) == "Silent, whose text is not available"
    assert sentence_of(ValueError(HOSTILE)).isprintable()
    assert sentence_of(ValueError()) == "ValueError"
    assert len(sentence_of(ValueError("x" * 10**6))) < LONGEST + 99


# Errors.


@pytest.mark.parametrize(
    "error",
    [
        GuestError(1000, HOSTILE),
        GuestAborted(f"the guest gave up: {HOSTILE} (code 5)", 6, 0, 1, 2),
        GuestTimeout(f"two words {HOSTILE}"),
        GuestTimeout(HOSTILE.replace(" ", ""), 1.0),
        GuestInterrupted(HOSTILE),
    ],
)
def test_errors_show_guests_text_escaped(error: Exception) -> None:
    assert str(error).isprintable()
    assert "\\n" in str(error)
    assert repr(error).isprintable()
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert again.__dict__ == error.__dict__
    assert (str(again), repr(again)) == (str(error), repr(error))


def test_errors_are_cut_and_keep_the_raw_text() -> None:
    text = HOSTILE + "x" * 10**6
    error = GuestError(1000, text)
    assert error.message == text
    assert str(error).endswith("more characters) (code 1000)")
    for one in (error, GuestAborted(text)):
        assert len(str(one)) < LONGEST + 99
        assert len(repr(one)) < 2 * LONGEST
    assert repr(GuestError(7, "no")) == "GuestError(7, 'no')"


def test_timeouts_name_limit_and_function() -> None:
    error = GuestTimeout("Spin", 0.3, "call_timeout")
    assert str(error) == "Spin took longer than 0.3 s (call_timeout)"
    assert (error.function, error.seconds, error.origin) == (
        "Spin",
        0.3,
        "call_timeout",
    )
    assert str(GuestTimeout("Spin", 5e-324)).startswith(
        "Spin took longer than 4.94065645841e-324 s (timeout)"
    )
    assert str(GuestTimeout(None, 10, "call_timeout")) == (
        "the guest's start took longer than 10 s (call_timeout)"
    )
    assert str(GuestInterrupted("Spin")) == "Spin was interrupted"
    assert str(GuestInterrupted(None)) == "the guest's start was interrupted"
    # Made of a message, as by older code.
    for kind in (GuestTimeout, GuestInterrupted):
        old = kind("the call did not end")
        assert str(old) == "the call did not end"
        assert old.function is None


def test_a_limit_is_named_with_its_value() -> None:
    error = LimitExceeded("memory", "256MiB")
    assert (error.limit, error.value) == ("memory", "256MiB")
    assert str(error) == "more than memory='256MiB' allows"
    assert issubclass(EmulatorWarning, UserWarning)


def test_usable_says_for_what() -> None:
    here = TrackerUnavailable("uffd", "no", ["full"], "here")
    assert str(here) == "tracker='uffd': no; usable here: full"
    memory = TrackerUnavailable("uffd", "no", ["full"])
    assert str(memory).endswith("; usable for this memory: full")
    assert str(pickle.loads(pickle.dumps(memory))) == str(memory)


@pytest.mark.parametrize(
    "text",
    [
        HOSTILE,
        "f(" + ", ".join(["int32"] * 65) + ") -> none",
        "f(" + "a" * 10**6 + ") -> none",
        "f() -> " + "a" * 10**6,
        "f\n() -> none",
        "f() -> none\n",
        "x" * 10**6,
    ],
)
def test_signatures_of_guests_are_short_and_printable(text: str) -> None:
    with pytest.raises(GuestAborted) as caught:
        parse_signature(text)
    assert caught.value.reason.isprintable()
    assert len(caught.value.reason) < 300


# Logs.


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    logger = logging.getLogger("hyperlight.guest")
    found: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(level)


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
