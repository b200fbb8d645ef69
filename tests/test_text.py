"""What people read: guests' text is escaped and cut, errors say the truth."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperlight import (
    EmulatorWarning,
    GuestAborted,
    GuestError,
    GuestInterrupted,
    GuestTimeout,
    LimitExceeded,
    TrackerMissedPage,
    TrackerUnavailable,
)
from hyperlight.sandbox.functions import parse_signature
from hyperlight.text import (
    LONGEST,
    brief,
    count,
    listed,
    printable,
    sentence_of,
    type_name,
)

pytestmark = pytest.mark.unsanitized  # no C runs

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
