"""What Python sees of the fake of WinHvPlatform.dll."""

from __future__ import annotations

import re
from enum import IntEnum

import pytest
from fake import whp


@pytest.mark.parametrize(
    ("enum", "name", "first"),
    [
        (whp.Kind, "kind", 0),
        (whp.Switch, "switch", 0),
        (whp.Counter, "counter", len(whp.Kind)),
    ],
)
def test_names_are_those_of_the_header(
    enum: type[IntEnum], name: str, first: int
) -> None:
    text = (whp.SOURCES / "fake.h").read_text()
    found = re.search(rf"enum fake_{name} {{(.*?)}};", text, re.DOTALL)
    assert found is not None
    body = re.sub(r"/\*.*?\*/", "", found[1], flags=re.DOTALL)
    items = [item.split("=")[0].strip() for item in body.split(",")]
    names = [item.removeprefix("FAKE_") for item in items if item]
    names = [n for n in names if n != "CALLS"][:-1]  # the last is a count
    assert [e.name for e in enum] == names
    assert [e.value for e in enum] == list(range(first, first + len(enum)))
