"""Memory that a driver pins: all is resident, and no page is ever replaced."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
from conftest import require_driver
from fake import mshv

from hyperlight import GuestAborted, Sandbox

pytestmark = pytest.mark.skipif(
    not mshv.is_provided(), reason="the fake of /dev/mshv is off"
)

New = Callable[..., Sandbox]


@pytest.fixture
def driver() -> str:
    return require_driver("mshv")


def test_no_page_is_dropped(new_sandbox: New) -> None:
    """The fake looks for it before each run: large inputs are zeroed."""
    fake = mshv.load()
    sandbox = new_sandbox(input_size="8MiB")
    before = fake.count(mshv.Counter.VIOLATIONS)
    for size in (6 << 20, 0, 5 << 20):
        assert sandbox.call("LargeParameters", bytes(size), "") == size
        sandbox.call("Counter")
        sandbox.restore()
        sandbox.verify()
    assert fake.count(mshv.Counter.VIOLATIONS) == before


def test_nothing_is_left(new_sandbox: New) -> None:
    fake = mshv.load()
    gc.collect()
    before = fake.alive()
    for _ in range(3):
        sandbox = new_sandbox()
        with pytest.raises(GuestAborted):
            sandbox.call("Fault", "undefined")
        assert fake.alive() != before
        sandbox.close()
        assert fake.alive() == before
