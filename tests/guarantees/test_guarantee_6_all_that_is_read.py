"""Whatever a guest can read is after a restore what it was before.

By each road that a call can take, and in the sandbox next door too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from conftest import HERE, interrupted, require_driver

from hyperlight import (
    GuestAborted,
    GuestError,
    GuestTimeout,
    HyperlightError,
    Sandbox,
    SandboxConfig,
)
from hyperlight import guest as guests

SOURCE = HERE / "guests" / "observe.c"
SECRET = 0x5EC2E75EC2E75EC2
SIZES = {
    "heap_size": "96KiB",
    "stack_size": "64KiB",
    "input_size": "16KiB",
    "output_size": "32KiB",
}
ODD = {
    0: "rdfsbase",
    1: "rdgsbase",
    2: "sgdt",
    3: "sidt",
    4: "sldt",
    5: "str",
    6: "smsw",
    7: "rdpkru",
}


@pytest.fixture(scope="module")
def observer(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    if shutil.which("cc") is None:
        pytest.skip("no compiler to build a guest with")
    path = tmp_path_factory.mktemp("guests") / "observe"
    return guests.build(SOURCE, path, cc="cc").read_bytes()


class Stop(BaseException):
    """Not an Exception, as KeyboardInterrupt."""


def answer(how: list[object]) -> Callable[[], object]:
    def function() -> object:
        if isinstance(how[0], BaseException):
            raise how[0]
        return how[0]

    return function


class Bed:
    """Two sandboxes of one guest, equal in all that a guest can read."""

    def __init__(self, observer: bytes, driver: str) -> None:
        self.answer: list[object] = [1]
        config = SandboxConfig(driver=driver, call_timeout=60, **SIZES)  # type: ignore[arg-type]
        self.used, self.other = (
            Sandbox(
                observer,
                host_functions={"Answer": answer(self.answer)},
                config=config,
            )
            for _ in range(2)
        )
        self.start = self.used.base
        self.other.restore(self.start)
        self.used.restore(self.start)

    def close(self) -> None:
        self.used.close()
        self.other.close()
        del self.start

    def observe(self, sandbox: Sandbox) -> dict[str, object]:
        """Everything, from this start on."""
        seen: dict[str, object] = {
            "registers": sandbox.call("Registers"),
            "extended": sandbox.call("Extended"),
        }
        for region in sandbox.layout:
            if region.permissions != "---":
                seen[region.name] = sandbox.call(
                    "Digest", region.address, region.size
                )
        # The two pages of the tables that a guest may read; the emulator's
        # may not.
        entry = sandbox.layout["tables"].address + 7 * 4096
        for which, name in ((1, "entry data"), (0, "entry code")):
            seen[name] = attempt(sandbox, "Peek", entry + which * 4096, 4096)
            self.again(sandbox)
        for which, name in ODD.items():
            seen[name] = attempt(sandbox, "Odd", which)
            self.again(sandbox)
        snapshot = sandbox.snapshot()
        seen["processor"] = snapshot._vcpu_state
        self.again(sandbox)
        return seen

    def again(self, sandbox: Sandbox) -> None:
        sandbox.restore(self.start)


def attempt(sandbox: Sandbox, *call: object) -> object:
    """What it returns, or what it ends with."""
    try:
        return sandbox.call(*call)  # type: ignore[arg-type]
    except GuestAborted as error:
        return str(error)


@pytest.fixture(autouse=True)
def on_one_processor() -> Iterator[None]:
    """Where nothing stops them, CPUID, SGDT and SIDT say which it is."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def bed(observer: bytes, driver: str) -> Iterator[Bed]:
    made = Bed(observer, driver)
    yield made
    made.close()


def ends(kind: type[BaseException], *call: object, **how: float):  # type: ignore[no-untyped-def]
    def road(bed: Bed) -> None:
        with pytest.raises(kind):
            bed.used.call(*call, **how)  # type: ignore[arg-type]

    return road


def ends_somehow(*call: object):  # type: ignore[no-untyped-def]
    """The processor may refuse it, or not."""

    def road(bed: Bed) -> None:
        with contextlib.suppress(GuestAborted):
            bed.used.call(*call, timeout=5)  # type: ignore[arg-type]

    return road


def is_interrupted(bed: Bed) -> None:
    with interrupted(bed.used):
        bed.used.call("Spin")


def host_raises(error: BaseException):  # type: ignore[no-untyped-def]
    def road(bed: Bed) -> None:
        bed.answer[0] = error
        with pytest.raises(type(error)):
            bed.used.call("Ask")
        bed.answer[0] = 1

    return road


ROADS = {
    "plain": lambda bed: None,
    "an error": ends(GuestError, "Fail"),
    "a refused call": ends(TypeError, "Two", b"\x5e" * 9000, "no int"),
    "too large": ends(ValueError, "Two", b"\x5e" * 99000, 1),
    "undefined": ends(GuestAborted, "Undefined"),
    "aligned": ends(GuestAborted, "Aligned"),
    "page fault": ends(GuestAborted, "Null"),
    "timeout": ends(GuestTimeout, "Spin", timeout=0.05),
    "interrupt": is_interrupted,
    "host fails": host_raises(KeyError("no")),
    "host is stopped": host_raises(Stop()),
    "in": ends_somehow("In"),
    "insb": ends_somehow("Ins", 0, False, False),
    "rep insb": ends_somehow("Ins", 8, False, False),
    "rep insb, much": ends_somehow("Ins", 2**40, False, False),
    "rep insl": ends_somehow("Ins", 300, True, False),
    "rep insb, down": ends_somehow("Ins", 100, False, True),
    "outsb": ends_somehow("Outs", 0),
    "rep outsb": ends_somehow("Outs", 5),
    "selectors": ends_somehow("Selectors", 0x2B),
    "null selectors": ends_somehow("Selectors", 3),
    "all selectors": ends_somehow("AllSelectors", 0x2B),
    "all null selectors": ends_somehow("AllSelectors", 1),
    "bases": ends_somehow("Bases", 0x400000),
    "keys": ends_somehow("Keys", 0x5EC2E750),
}


@pytest.mark.parametrize("road", ROADS)
def test_all_that_is_read_is_as_it_was(bed: Bed, road: str) -> None:
    before = bed.observe(bed.used)
    bed.used.call("Soil", SECRET, b"\x5e" * 12000)
    bed.used.restore(bed.used.snapshot())  # the one that shall not be seen
    if road not in ("plain", "an error"):
        bed.used.call("Soil", SECRET, b"")
    ROADS[road](bed)
    bed.again(bed.used)
    after = bed.observe(bed.used)
    differs = {name for name in before if before[name] != after[name]}
    assert not differs, {n: (before[n], after[n]) for n in sorted(differs)}
    next_door = bed.observe(bed.other)
    differs = {name for name in before if before[name] != next_door[name]}
    assert not differs, {n: (before[n], next_door[n]) for n in differs}


def test_it_would_be_noticed(bed: Bed) -> None:
    """Each kind of what is observed shows what was soiled."""
    before = bed.observe(bed.used)
    bed.used.call("Soil", SECRET, b"\x5e" * 12000)
    soiled = bed.used.snapshot()
    seen = {
        "registers": bed.used.call("Registers"),
        "processor": soiled._vcpu_state,
    }
    for region in ("data", "heap", "stack"):
        place = bed.used.layout[region]
        seen[region] = bed.used.call("Digest", place.address, place.size)
    for name, value in seen.items():
        assert value != before[name], name
    with pytest.raises(HyperlightError):
        bed.used.call("Undefined")


def test_when_the_host_looked_is_not_seen(observer: bytes) -> None:
    """A dirty ring that is full ends a run in the middle of a call."""
    config = SandboxConfig(
        driver=require_driver("kvm"), heap_size="80MiB", call_timeout=60
    )
    with Sandbox(observer, config=config) as sandbox:
        registers = sandbox.layout["tables"].address + 8 * 4096 + 2688
        seen = []
        for pages in (0, 18000, 0):
            seen.append(sandbox.call("Late", registers, pages))
            sandbox.restore()
        assert seen[0] == seen[1] == seen[2]
        assert any(seen[0])


def test_selectors_are_not_left_in_the_thread(observer: bytes) -> None:
    """A KVM without hardware help runs guests with the thread's own."""
    made = Bed(observer, require_driver("kvm"))
    before = made.other.call("Registers")
    for call in ("Selectors", "AllSelectors"):
        with contextlib.suppress(GuestAborted):
            made.used.call(call, 0x2B)
        assert made.other.call("Registers") == before
        made.used.restore()
    made.close()
