"""What Python sees of the fake of /dev/mshv; tests/c tests the rest."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from enum import IntEnum

import pytest
from fake import mshv


class Calls(ctypes.Structure):
    """``struct hl_mshv_calls``."""

    _fields_ = [
        (
            "open",
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_int),
        ),
        ("ioctl", ctypes.c_void_p),
        ("close", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)),
    ]


@pytest.fixture
def fake() -> mshv.FakeMshv:
    if not mshv.is_provided():
        pytest.skip("the fake of /dev/mshv is off")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no /dev/kvm to run the fake's guests on")
    loaded = mshv.load()
    loaded.reset()
    return loaded


@pytest.mark.parametrize(
    ("enum", "name", "first"),
    [
        (mshv.Kind, "kind", 0),
        (mshv.Switch, "switch", 0),
        (mshv.Counter, "counter", len(mshv.Kind)),
    ],
)
def test_names_are_those_of_the_header(
    enum: type[IntEnum], name: str, first: int
) -> None:
    text = (mshv.SOURCES / "fake.h").read_text()
    found = re.search(rf"enum fake_{name} {{(.*?)}};", text, re.DOTALL)
    assert found is not None
    body = re.sub(r"/\*.*?\*/", "", found[1], flags=re.DOTALL)
    items = [item.split("=")[0].strip() for item in body.split(",")]
    names = [item.removeprefix("FAKE_") for item in items if item]
    names = [n for n in names if n != "CALLS"][:-1]  # the last is a count
    assert [e.name for e in enum] == names
    assert [e.value for e in enum] == list(range(first, first + len(enum)))


def test_what_is_open_is_counted(fake: mshv.FakeMshv) -> None:
    calls = Calls.from_address(fake.calls)
    fd = calls.open(b"/dev/mshv", os.O_RDWR | os.O_CLOEXEC)
    assert fake.alive() == {"descriptors": 1}
    assert calls.close(fd) == 0
    assert fake.alive() == {}
    assert fake.counts() == {"open": 1, "close": 1}


def test_what_others_close_is_noticed(fake: mshv.FakeMshv) -> None:
    fd = Calls.from_address(fake.calls).open(b"/dev/mshv", os.O_RDWR)
    os.close(fd)
    assert fake.alive() == {}


def test_a_planned_call_fails(fake: mshv.FakeMshv) -> None:
    calls = Calls.from_address(fake.calls)
    fake.fail(mshv.Kind.OPEN, 2, errno.EIO)
    fd = calls.open(b"/dev/mshv", os.O_RDWR)
    assert calls.open(b"/dev/mshv", os.O_RDWR) == -1
    assert fake.fail_left == 0
    assert calls.close(fd) == 0
    assert fake.count(mshv.Counter.FAILED) == 1
    assert fake.alive() == {}


def test_switches_are_read_back(fake: mshv.FakeMshv) -> None:
    fake.switch(mshv.Switch.FEWER_PAGES, 7)
    assert fake.switched(mshv.Switch.FEWER_PAGES) == 7
    fake.reset()
    assert fake.switched(mshv.Switch.FEWER_PAGES) == 0
    assert fake.switched(mshv.Switch.FRAMES_EVERY) == 1
