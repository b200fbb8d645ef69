"""Readable text from guests, which is hostile, and from invalid values.

Text from a guest ends up on terminals, in log files and in error texts. There
it must not move the cursor, begin a new line, reverse the reading direction,
or go on for megabytes. The rule: text from a guest passes through
:func:`printable` before it becomes part of anything that people read.

Everything here is pure and runs no code of a value's class, so it may be used
in the middle of a call. The exception is :func:`sentence_of`, which asks an
exception for its text.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "brief",
    "count",
    "listed",
    "printable",
    "sentence_of",
    "type_name",
]

#: Characters of a guest's text that an error shows.
LONGEST = 2000


def printable(text: str, limit: int = LONGEST) -> str:
    r"""The text on one line, in characters that are safe to show.

    Control characters, line breaks, marks that turn the reading direction,
    invisible characters, lone surrogates and all other characters that Unicode
    does not count as printable become escapes. A backslash is kept, so that
    applying this twice has the same effect as once.

    Args:
        text: Anything.
        limit: Characters to keep, escapes counted as they are shown. Longer
            text is cut, and the result states by how much.

    >>> printable("a\x1b[2J\nb\u202e")
    'a\\x1b[2J\\nb\\u202e'
    >>> printable("Hello, world", 5)
    'Hello... (7 more characters)'
    """
    text = str.__str__(text)  # exactly a str: a subclass may do anything
    if len(text) <= limit and text.isprintable():
        return text
    shown: list[str] = []
    room = limit
    for taken, character in enumerate(text):
        piece = character if character.isprintable() else _escape(character)
        room -= len(piece)
        if room < 0:
            left = count(len(text) - taken, "more character")
            return f"{''.join(shown)}... ({left})"
        shown.append(piece)
    return "".join(shown)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def count(number: int, noun: str) -> str:
    """The number and its noun.

    >>> count(1, "argument"), count(2, "argument")
    ('1 argument', '2 arguments')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Iterable[str], most: int = 20) -> str:
    """Names in order, at most `most` of them, or ``none``.

    >>> listed(["b", "a"]), listed("abcd", 2), listed([])
    ('a, b', 'a, b and 2 more', 'none')
    """
    ordered = sorted(names)
    shown = ", ".join(ordered[:most])
    more = len(ordered) - most
    return f"{shown} and {more} more" if more > 0 else shown or "none"


_LARGE = 1 << 64


def brief(value: object, limit: int = 60) -> str:
    """A short description of a value for an error, without its class's code.

    Plain values are shown; for others the type is named. So this may be used
    where foreign code must not run, and costs little even for large values.

    >>> brief("text"), brief(b"x" * 100, 5)
    ("'text'", "b'xxxxx'... (100 bytes)")
    >>> brief(object()), brief(10**99)
    ('a value of type object', 'an int of 329 bits')
    """
    kind = type(value)
    if value is None or kind is bool or kind is float:
        return repr(value)
    if kind is int:
        number: int = value  # type: ignore[assignment]
        if -_LARGE < number < _LARGE:
            return repr(number)
        return f"an int of {number.bit_length()} bits"
    if kind is str:
        text: str = value  # type: ignore[assignment]
        if len(text) <= limit:
            return repr(text)
        return f"{text[:limit]!r}... ({count(len(text), 'character')})"
    if kind is bytes:
        data: bytes = value  # type: ignore[assignment]
        if len(data) <= limit:
            return repr(data)
        return f"{data[:limit]!r}... ({count(len(data), 'byte')})"
    return f"a value of type {type_name(value)}"


_name_of_type = type.__dict__["__name__"].__get__


def type_name(value: object) -> str:
    """Name of a value's type, whatever its metaclass says."""
    return printable(_name_of_type(type(value)), 80)


def sentence_of(error: BaseException, limit: int = LONGEST) -> str:
    r"""The class and the text of an exception, which may have no text.

    Its ``__str__`` may be foreign code: if it fails, only the class is named.

    >>> sentence_of(ValueError("no\nway")), sentence_of(KeyboardInterrupt())
    ('ValueError: no\\nway', 'KeyboardInterrupt')
    """
    name = type_name(error)
    try:
        text = printable(str.__str__(str(error)), limit)
    except Exception:
        return f"{name}, whose text is not available"
    return f"{name}: {text}" if text else name
