"""What a sandbox keeps, and its snapshots."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import tiny
from conftest import (
    SANDBOX_TRACKERS,
    require_driver,
    require_tracker,
)

import hyperlight
from hyperlight import (
    GuestAborted,
    Sandbox,
    SandboxConfig,
    SharedMemory,
    SnapshotManager,
    SnapshotMismatch,
    TrackerUnavailable,
)
from hyperlight.registry import TRACKERS

New = Callable[..., Sandbox]
MIB = 1 << 20


def test_memory(simple: Sandbox) -> None:
    address = simple.call("Allocate", 5000)
    assert address in simple.layout["heap"]
    simple.call("FillHeap", address, 5000, 7)
    assert simple.call("Read", address, 5000) == bytes([7]) * 5000
    simple.call("Write", address + 100, b"abc")
    assert simple.call("Read", address + 99, 5) == b"\x07abc\x07"
    simple.call("Free", address)
    assert simple.call("Allocate", 1 << 40) == 0


def test_state_is_kept_until_restored(simple: Sandbox) -> None:
    assert [simple.call("Counter") for _ in range(3)] == [1, 2, 3]
    three = simple.snapshot("three")
    simple.call("Counter")
    stats = simple.restore(three)
    assert stats.pages_copied + stats.pages_zeroed > 0
    assert stats.tracker == simple.tracker
    assert simple.call("GetCounter") == 3
    simple.restore(simple.base)
    assert simple.call("GetCounter") == 0
    assert simple.current is simple.base
    simple.restore()
    assert not simple.changed()


def test_snapshots_form_a_tree(simple: Sandbox) -> None:
    states = {0: simple.snapshot("0")}
    for i in range(1, 6):
        simple.call("Counter")
        states[i] = simple.snapshot(str(i))
    assert states[3].parent is states[2]
    for i in (5, 0, 3, 3, 1, 4, 2):
        simple.restore(states[i])
        simple.verify()
        assert simple.call("GetCounter") == i
    del states[2], states[4]
    gc.collect()
    for i in (5, 0, 3, 1):
        simple.restore(states[i])
        assert simple.call("Counter") == i + 1


def test_snapshots_are_cheap(new_sandbox: New) -> None:
    sandbox = new_sandbox(heap_size="256MiB")
    sandbox.call("Counter")
    one = sandbox.snapshot()
    sandbox.call("Counter")
    two = sandbox.snapshot()
    assert two.nbytes < 100_000
    assert one.size == two.size > 256 * MIB


def test_a_restore_copies_what_was_written_and_no_more(
    new_sandbox: New,
) -> None:
    """A guest that writes another page each call: none of them becomes hot,
    and nothing that proves what is tracked is paid for in pages.
    """
    sandbox = new_sandbox(heap_size="2MiB")
    if not any(t.arms for t in TRACKERS if t.name == sandbox.tracker):
        pytest.skip(f"tracker {sandbox.tracker}: it copies everything")
    heap = sandbox.call("HeapBase")
    assert isinstance(heap, int)
    base = sandbox.snapshot()
    most = 0
    for i in range(200):
        sandbox.call("FillHeap", heap + 4096 * (i % 400), 1, i % 100 + 1)
        done = sandbox.restore(base)
        most = max(most, done.pages_copied + done.pages_zeroed)
    sandbox.verify()
    assert most <= 8


def test_transaction(simple: Sandbox) -> None:
    simple.call("Counter")
    with simple.transaction() as before:
        assert simple.call("Counter") == 2
        assert before.name == "transaction"
    assert simple.call("GetCounter") == 1
    with pytest.raises(KeyError), simple.transaction():
        simple.call("Counter")
        raise KeyError
    assert simple.call("GetCounter") == 1
    with pytest.raises(GuestAborted), simple.transaction():
        simple.call("Fault", "undefined")
    assert not simple.poisoned
    assert simple.call("Counter") == 2


def test_a_snapshot_moves_to_another_sandbox(new_sandbox: New) -> None:
    one, other = new_sandbox(), new_sandbox()
    for _ in range(5):
        one.call("Counter")
    one.call("SetFloat", 2.5)
    address = one.call("Allocate", 100)
    one.call("Write", address, b"moved")
    five = one.snapshot("five")
    expected = (one.call("GetFloat"), one.call("GetMxcsr"))
    one.close()
    other.call("Counter")
    other.restore(five)
    other.verify()
    assert other.call("GetCounter") == 5
    assert other.call("Read", address, 5) == b"moved"
    other.restore(five)
    assert (other.call("GetFloat"), other.call("GetMxcsr")) == expected
    other.restore(other.base)
    assert other.call("GetCounter") == 0


def test_snapshots_of_others_are_refused(new_sandbox: New) -> None:
    sandbox = new_sandbox()
    larger = new_sandbox(heap_size="1MiB")
    stranger = new_sandbox(tiny.guest(b"\x0f\x0b"))
    with SharedMemory("1MiB") as memory, SnapshotManager(memory) as manager:
        for theirs, why in (
            (larger.snapshot(), "another layout"),
            (stranger.snapshot(), "another guest"),
            (manager.take(), "not to a sandbox"),
        ):
            with pytest.raises(SnapshotMismatch, match=why):
                sandbox.restore(theirs)
            with pytest.raises(SnapshotMismatch, match=why):
                sandbox.verify(theirs)
    with pytest.raises(TypeError, match="not a Snapshot"):
        sandbox.restore("base")  # type: ignore[arg-type]
    assert sandbox.call("Echo", "unharmed") == "unharmed"


def test_drivers_do_not_share_snapshots() -> None:
    made = [
        Sandbox("simple", config=SandboxConfig(driver=require_driver(name)))
        for name in ("kvm", "emulator")
    ]
    with made[0], made[1]:
        with pytest.raises(SnapshotMismatch, match="its driver is 'kvm'"):
            made[1].restore(made[0].snapshot())


@pytest.mark.parametrize("tracker", sorted(
    {t for names in SANDBOX_TRACKERS.values() for t in names}
))  # fmt: skip
@pytest.mark.parametrize("rearm", ["adaptive", "always"])
def test_every_tracker(new_sandbox: New, driver: str, tracker: str,
                       rearm: str) -> None:  # fmt: skip
    if tracker not in SANDBOX_TRACKERS[driver]:
        with pytest.raises(
            TrackerUnavailable, match=f"driver '{driver}'"
        ) as caught:
            new_sandbox(tracker=tracker)
        works = {t.name for t in hyperlight.trackers() if t.available}
        assert set(caught.value.usable) == works & {*SANDBOX_TRACKERS[driver]}
        return
    require_tracker(tracker)
    sandbox = new_sandbox(tracker=tracker, rearm=rearm)
    assert sandbox.tracker == tracker
    for i in range(60):
        address = sandbox.call("Allocate", 5000 * (i % 7 + 1))
        sandbox.call("FillHeap", address, 5000 * (i % 7 + 1), i)
        sandbox.verify()
        sandbox.restore()
        sandbox.verify()
        assert sandbox.call("GetCounter") == 0


def test_verify_after_every_restore(
    new_sandbox: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYPERLIGHT_VERIFY", "1")
    sandbox = new_sandbox()
    sandbox.call("Counter")
    sandbox.restore()
    assert sandbox.call("Counter") == 1
