"""Look at the built pages: is everything that is public there, and described?

Usage: check_pages.py FOLDER, which ``sphinx-build`` wrote. Prints what is
missing, and ends with status 1 then.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from bs4 import BeautifulSoup, Tag

import hyperlight
from hyperlight import guest


def keys(thing: object) -> set[str]:
    """Of a TypedDict."""
    return set(getattr(thing, "__required_keys__", ()))


def members(class_: type) -> Iterator[tuple[str, bool]]:
    """Public members that are the library's own, and whether it is data.

    What tuples, exceptions and dictionaries have is Python's to document.
    """
    fields = set(getattr(class_, "_fields", ())) | keys(class_)
    if dataclasses.is_dataclass(class_):
        fields |= {field.name for field in dataclasses.fields(class_)}
    for name in hyperlight.__all__:  # a TypedDict does not name its bases
        if keys(getattr(hyperlight, name)) < fields:
            fields -= keys(getattr(hyperlight, name))
    for name in sorted(fields | set(dir(class_))):
        owners = [b for b in class_.__mro__ if name in vars(b)]
        ours = name in fields or (
            owners and owners[0].__module__.startswith("hyperlight")
        )
        if ours and not name.startswith("_"):
            data = name in fields or not callable(getattr(class_, name))
            yield name, data


def described(entry: Tag) -> str:
    """The text of an entry, without its signature."""
    body = entry.find_next_sibling("dd")
    return body.get_text(" ", strip=True) if isinstance(body, Tag) else ""


def wrong(page: BeautifulSoup, name: str, field: bool = False) -> str | None:
    """What is wrong with an entry, or None."""
    entry = page.find("dt", id=name)
    if not isinstance(entry, Tag):
        return "is not there"
    text = described(entry)
    if not text:
        return "has no description"
    if re.match(r"(Type|Parameters|Return type)\b", text):
        return f"has types and no description: {text!r}"
    if field and ":" not in entry.get_text() and "Type" not in text:
        return f"has no type: {text!r}"
    return None


def main() -> int:
    """Check the reference."""
    root = Path(sys.argv[1])
    pages = [
        BeautifulSoup((root / name).read_text(), "html.parser")
        for name in ("reference/api.html", "reference/errors.html")
    ]
    found: list[str] = []
    for package in (hyperlight, guest):
        for name in package.__all__:
            thing = getattr(package, name)
            if name.startswith("__"):
                continue
            wanted = [(f"{package.__name__}.{name}", False)]
            if inspect.isclass(thing):
                wanted += [
                    (f"{package.__name__}.{name}.{member}", field)
                    for member, field in members(thing)
                ]
            for full, field in wanted:
                reasons = [wrong(page, full, field) for page in pages]
                if None not in reasons:
                    reason = min(map(str, reasons), key=lambda r: "not" in r)
                    found.append(f"{full} {reason}")
    for page in pages:  # what instances have: errors say it in their docstring
        for entry in page.select("dl.py.attribute > dt[id]"):
            reason = wrong(page, str(entry["id"]), field=True)
            if reason is not None:
                found.append(f"{entry['id']} {reason}")
    print(*found, sep="\n", end="\n" if found else "")
    print(f"{len(found)} public names are not described")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
