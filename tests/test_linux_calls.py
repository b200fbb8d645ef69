"""The table of system calls in the docs is that of the core."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "csrc/abi/linux"
PAGE = ROOT / "docs/reference/linux-calls.md"

if not CORE.is_dir():
    pytest.skip("there are no sources here", allow_module_level=True)


def names() -> dict[int, str]:
    """What numbers.c calls them."""
    text = (CORE / "numbers.c").read_text()
    first, later = re.findall(r"\[\] = \{(.*?)\};", text, re.DOTALL)
    return {
        **dict(enumerate(re.findall(r'"(\w+)"', first))),
        **dict(enumerate(re.findall(r'"(\w+)"', later), 424)),
    }


def served() -> set[str]:
    """The calls in the table of calls.c."""
    text = (CORE / "calls.c").read_text()
    numbers = re.findall(r"^    \[(\d+)\] = \w+,", text, re.MULTILINE)
    return {names()[int(number)] for number in numbers}


def refused() -> dict[str, str]:
    """What alone.c refuses, but with ENOSYS."""
    text = (CORE / "alone.c").read_text()
    by_number = re.findall(r"case (\d+): /\* (\w+) \*/", text)
    assert all(names()[int(number)] == name for number, name in by_number)
    found = re.search(r"number >= (\d+) && number <= (\d+) \? -EOPNO", text)
    assert found
    kin = range(int(found[1]), int(found[2]) + 1)
    return {
        **{name: "EPERM" for _, name in by_number},
        **{names()[number]: "EOPNOTSUPP" for number in kin},
    }


def rows() -> dict[str, tuple[str, str]]:
    """Of each call: how it is served, and what is said of it."""
    found: dict[str, tuple[str, str]] = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| `"):
            continue
        for name in re.findall(r"`(\w+)`", cells[0]):
            assert name not in found, f"{name} is there twice"
            found[name] = (cells[1], cells[2])
    return found


def test_every_call_has_a_row() -> None:
    assert served() - set(rows()) == set()
    assert set(refused()) - set(rows()) == set()


def test_rows_are_of_calls_that_there_are() -> None:
    assert set(rows()) - set(names().values()) == set()
    ways = {way for way, _ in rows().values()}
    assert ways == {"served", "partly", "refused"}


def test_what_is_served_is_in_the_table_of_the_core() -> None:
    promised = {name for name, (way, _) in rows().items() if way != "refused"}
    assert promised - served() == set()


def test_errors_are_those_of_the_core() -> None:
    for name, (way, how) in rows().items():
        if way != "refused" or name in served():
            continue
        assert refused().get(name, "ENOSYS") in how, name
