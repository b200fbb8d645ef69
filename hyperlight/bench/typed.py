"""JSON files as the dataclasses that they are said to be."""

from __future__ import annotations

import json
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, cast, get_args, get_origin, get_type_hints

__all__ = ["ResultsError", "load"]


class ResultsError(ValueError):
    """A file of results is missing or is not what its name says."""


def load(kind: Any, path: Path) -> Any:
    """The JSON of a file as a value of this type.

    Raises:
        ResultsError: It cannot be read, or is not of that type.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number")

    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text, parse_constant=refuse)
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read: {error}") from error
    return _make(kind, value, str(path))


def _make(kind: Any, value: Any, where: str) -> Any:
    """What JSON says, as the type that a dataclass says it has.

    That is a dataclass, a tuple of any length, a dict, a union with None, or
    a plain type. `where` it stands is for errors.
    """
    inner = get_args(kind)
    if type(None) in inner:
        return None if value is None else _make(inner[0], value, where)
    if kind is float and type(value) is int:
        return float(value)
    container = get_origin(kind) or kind
    plain = {tuple: list}.get(container, container)
    if is_dataclass(kind):
        plain = dict
    if type(value) is not plain:  # exactly: to Python, a bool is an int
        raise ResultsError(
            f"{where}: should be {NAMES[plain]}, not {value!r:.40}"
        )
    if is_dataclass(kind):
        members = {
            name: _make(hint, value[name], f"{where}: {name}")
            for name, hint in get_type_hints(kind).items()
            if name in value
        }
        try:
            return cast(Any, kind)(**members)
        except (TypeError, ValueError) as error:
            raise ResultsError(f"{where}: {error}") from error
    if container is tuple:
        return tuple(
            _make(inner[0], item, f"{where}[{i}]")
            for i, item in enumerate(value)
        )
    if container is dict:
        return {
            name: _make(inner[1], item, f"{where}: {name}")
            for name, item in value.items()
        }
    return value


NAMES: dict[type[object], str] = {
    dict: "an object",
    list: "a list",
    str: "text",
    float: "a number",
    int: "a whole number",
    bool: "true or false",
}
