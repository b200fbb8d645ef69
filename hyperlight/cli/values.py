"""Conversion of command-line text to arguments of a guest's function."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["values_of"]


def _bool(text: str) -> bool:
    words = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in words:
        raise ValueError(f"{text!r} is neither true nor false")
    return words[text.lower()]


def _int(text: str) -> int:
    return int(text, 0)


_READERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("int32", "int64", "uint32", "uint64"), _int),
    **dict.fromkeys(("float", "double"), float),
    "bool": _bool,
    "str": str,
    "bytes": str.encode,
}


def values_of(signature: str, texts: Sequence[str]) -> list[Any]:
    """The texts as arguments for a function of this signature.

    ``@FILE`` stands for the file's content. If there are more or fewer texts
    than arguments, they are returned unchanged: the call reports the error.

    Raises:
        ValueError: A text does not fit the type of its argument.
        OSError: A file cannot be read.
    """
    match = re.search(r"\((.*)\)", signature)
    kinds = match[1].split(", ") if match and match[1] else []
    if len(kinds) != len(texts):
        return list(texts)
    return [
        _value(number, kind, text)
        for number, (kind, text) in enumerate(
            zip(kinds, texts, strict=True), 1
        )
    ]


def _value(number: int, kind: str, text: str) -> Any:
    if kind in ("str", "bytes") and text.startswith("@"):
        data = Path(text[1:]).read_bytes()
        return data if kind == "bytes" else data.decode()
    try:
        return _READERS[kind](text)
    except ValueError as error:
        raise ValueError(
            f"argument {number} must be {kind}: {error}"
        ) from None
