"""Nothing of one call is left for the next one after a restore."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hyperlight import (
    GuestAborted,
    GuestTimeout,
    Sandbox,
    SandboxConfig,
    SandboxPoisoned,
)

New = Callable[..., Sandbox]


def test_memory(new_sandbox: New) -> None:
    sandbox = new_sandbox(heap_size="1MiB")
    address = sandbox.call("Allocate", 500_000)
    clean = sandbox.snapshot()
    sandbox.call("FillHeap", address, 500_000, 0xAA)
    sandbox.restore(clean)
    sandbox.verify()
    assert sandbox.call("Read", address, 10_000) == bytes(10_000)


def test_floating_point_state(new_sandbox: New) -> None:
    sandbox = new_sandbox()
    before = (sandbox.call("GetFloat"), sandbox.call("GetMxcsr"))
    sandbox.restore()
    for number in (1.5, -2.25, 1e300):
        sandbox.call("SetFloat", number)
        assert sandbox.call("GetFloat") == number
        assert sandbox.call("GetMxcsr") != before[1]
        marked = sandbox.snapshot()
        sandbox.restore(sandbox.base)
        assert sandbox.call("GetMxcsr") == before[1]
        assert sandbox.call("GetFloat") == before[0]
        sandbox.restore(marked)
        assert sandbox.call("GetFloat") == number
        assert sandbox.call("GetMxcsr") != before[1]
        sandbox.restore(sandbox.base)


def test_floating_point_state_after_an_abort(new_sandbox: New) -> None:
    sandbox = new_sandbox()
    before = (sandbox.call("GetFloat"), sandbox.call("GetMxcsr"))
    for kind in ("undefined", "read-null", "privileged"):
        sandbox.restore()
        sandbox.call("SetFloat", 7.0)
        with pytest.raises(GuestAborted):
            sandbox.call("Fault", kind)
        sandbox.restore()
        after = (sandbox.call("GetFloat"), sandbox.call("GetMxcsr"))
        assert after == before


@pytest.mark.parametrize("size", [100, 5000, 3 << 20])
def test_the_input_buffer_is_scrubbed(new_sandbox: New, size: int) -> None:
    sandbox = new_sandbox(input_size="8MiB", output_size="4MiB")
    secret = b"\xa5" * size
    sandbox.call("EchoBytes", secret)
    sandbox.restore()
    room = sandbox.layout["input"].size
    for at in range(0, room, 1 << 20):
        seen = sandbox.call("ReadInput", at, min(1 << 20, room - at))
        assert b"\xa5" not in seen, at
    # Between calls too, restored or not: what is read is the call itself.
    sandbox.call("EchoBytes", secret)
    assert b"\xa5\xa5" not in sandbox.call("ReadInput", 0, 5000)


def test_the_output_buffer_is_scrubbed(new_sandbox: New) -> None:
    sandbox = new_sandbox(
        output_size="2MiB", input_size="1MiB", heap_size="2MiB"
    )
    sandbox.call("EchoBytes", b"\xa5" * 500_000)
    sandbox.restore()
    assert b"\xa5" not in sandbox.call("ReadOutput", 0, 500_000)
    sandbox.call("EchoBytes", b"\xa5" * 500_000)
    kept = sandbox.snapshot()
    sandbox.restore(kept)
    assert b"\xa5" not in sandbox.call("ReadOutput", 0, 500_000)


def test_replies_are_scrubbed(new_sandbox: New) -> None:
    sandbox = new_sandbox(
        "simple", {"HostEcho": lambda data: b"\xa5" * len(data)}
    )
    sandbox.call("HostEcho", bytes(3000))
    sandbox.restore()
    room = sandbox.layout["input"].size
    for at in range(0, room, 4096):
        assert b"\xa5" not in sandbox.call("ReadInput", at, 4096)


def test_snapshots_hold_no_buffers(new_sandbox: New) -> None:
    sandbox = new_sandbox(output_size="1MiB", input_size="1MiB")
    sandbox.call("EchoBytes", b"\xa5" * 400_000)
    snapshot = sandbox.snapshot()
    assert b"\xa5" * 64 not in snapshot.read(0, snapshot.size)


GENERAL = (
    # RCX, RDX, RSI, RDI, RBP, R8 to R15, and XMM0.
    "48b9" + "11" * 8 + "48ba" + "22" * 8 + "48be" + "66" * 8
    + "48bf" + "77" * 8 + "48bd" + "55" * 8
    + "".join(f"49b{8 + i:x}" + f"{8 + i:x}{8 + i:x}" * 8 for i in range(8))
    + "66480f6ec2"
)  # fmt: skip
GENERAL_REPORT = (
    # RDI comes from the stack, XMM0 by way of RAX.
    "57 488b7b30 48894f28 48895730 48897738 48896f40 4c894748 4c894f50"
    "4c895758 4c895f60 4c896768 4c896f70 4c897778 4c89bf80000000"
    "58 48898788000000 66480f7ec0 48898790000000"
)

#: What fills the state, what reports it, and how many bytes that are.
STATES = {
    "general": (GENERAL, GENERAL_REPORT, 112),
    "avx": ("c4410176ff c4430518ff01", "488b7b30 c57e7f7f28", 32),
    "avx-512": (
        "62a37d4025c0ff c5f446c9 c4410576ff",
        "488b7b30 62e1fe487f8728000000 c5f893c1 48894768 c57e7f7f70",
        104,
    ),
    # The address of the last x87 instruction too.
    "x87": ("d9e8 ddd8 d9ee", "488b7b30 d97728", 28),
}


def test_x87_pointers(new_sandbox: New) -> None:
    # Some AMD processors keep them for nobody (APM vol. 2, 11.4.4.3): what is
    # there is then whoever's x87 instruction was the last, but no guest's.
    act, report, size = STATES["x87"]
    sandbox = new_sandbox(
        tiny.reporter(bytes.fromhex(act), bytes.fromhex(report), size)
    )
    # Nor do they outlive a thread's turn on the processor: try once more.
    for _ in range(100):
        filled = sandbox.call("Go", True)[12:16]
        if filled != bytes(4):
            break
    assert filled != bytes(4)
    sandbox.restore()
    assert sandbox.call("Go", False)[12:16] != filled


def keeps_x87_pointers(sandbox: Sandbox) -> bool:
    return sandbox.driver != "kvm" or "fxsave_leak" not in Path(
        "/proc/cpuinfo"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", STATES)
def test_registers(new_sandbox: New, name: str) -> None:
    act, report, size = STATES[name]
    sandbox = new_sandbox(
        tiny.reporter(bytes.fromhex(act), bytes.fromhex(report), size)
    )
    end = size
    if name == "x87" and not keeps_x87_pointers(sandbox):
        end = 12

    def go(acts: bool) -> bytes:
        answer = sandbox.call("Go", acts)
        assert isinstance(answer, bytes)
        assert len(answer) == size
        return answer[:end]

    try:
        clean = go(False)
    except GuestAborted as error:
        assert error.vector == 6, error
        pytest.skip(f"driver {sandbox.driver}: no {name} here")
    sandbox.restore()
    for _ in range(3):
        assert go(True) != clean
        sandbox.restore()
        assert go(False) == clean
        sandbox.restore()
        assert go(True) != clean
        kept = sandbox.snapshot()
        filled = go(False)
        sandbox.restore(sandbox.base)
        assert go(False) == clean
        sandbox.restore(kept)
        assert go(False) == filled
        sandbox.restore(sandbox.base)


# Random calls, snapshots, restores, aborts, timeouts, against a model.

PAGE = 4096
ROOM = 40 * PAGE


class Machine(RuleBasedStateMachine):
    """A sandbox, and what its guest's state should be."""

    driver = ""
    snapshots = Bundle("snapshots")

    def __init__(self) -> None:
        super().__init__()
        self.sandbox = Sandbox(
            "simple",
            config=SandboxConfig(
                driver=self.driver, heap_size="512KiB", call_timeout=60
            ),
        )
        self.count = 0
        self.memory = bytearray(ROOM)
        self.number: float | None = None
        self.poisoned = False

    @initialize(target=snapshots)
    def begin(self) -> object:
        self.at = self.sandbox.call("Allocate", ROOM)
        self.sandbox.call("FillHeap", self.at, ROOM, 0)
        return self.take()

    @precondition(lambda self: not self.poisoned)
    @rule(target=snapshots)
    def take(self) -> object:
        snapshot = self.sandbox.snapshot()
        return snapshot, self.count, bytes(self.memory), self.number

    @rule(taken=snapshots)
    def restore(self, taken: tuple[object, int, bytes, float | None]) -> None:
        snapshot, self.count, memory, self.number = taken
        self.sandbox.restore(snapshot)  # type: ignore[arg-type]
        self.memory = bytearray(memory)
        self.poisoned = False

    @precondition(lambda self: not self.poisoned)
    @rule()
    def increment(self) -> None:
        self.count += 1
        assert self.sandbox.call("Counter") == self.count

    @precondition(lambda self: not self.poisoned)
    @rule(
        at=st.integers(0, ROOM - 1),
        size=st.integers(0, 3 * PAGE),
        byte=st.integers(0, 255),
    )
    def fill(self, at: int, size: int, byte: int) -> None:
        size = min(size, ROOM - at)
        self.sandbox.call("FillHeap", self.at + at, size, byte)
        self.memory[at : at + size] = bytes([byte]) * size

    @precondition(lambda self: not self.poisoned)
    @rule(number=st.floats(allow_nan=False))
    def set_number(self, number: float) -> None:
        self.sandbox.call("SetFloat", number)
        self.number = number

    @precondition(lambda self: not self.poisoned)
    @rule(kind=st.sampled_from(["undefined", "read-null", "write-code"]))
    def abort(self, kind: str) -> None:
        with pytest.raises(GuestAborted):
            self.sandbox.call("Fault", kind)
        self.poisoned = True

    @precondition(lambda self: not self.poisoned)
    @rule()
    def time_out(self) -> None:
        with pytest.raises(GuestTimeout):
            self.sandbox.call("Spin", timeout=0.002)
        self.poisoned = True

    @precondition(lambda self: self.poisoned)
    @rule()
    def refuse(self) -> None:
        with pytest.raises(SandboxPoisoned):
            self.sandbox.call("Counter")

    @invariant()
    def agrees(self) -> None:
        assert self.sandbox.poisoned == self.poisoned
        if self.poisoned or not hasattr(self, "at"):
            return
        for page in range(0, ROOM, 8 * PAGE):
            part = self.sandbox.call("Read", self.at + page, 8192)
            assert part == self.memory[page : page + 8192]
        assert self.sandbox.call("GetCounter") == self.count
        if self.number is not None:
            assert self.sandbox.call("GetFloat") == self.number
        self.sandbox.verify()

    def teardown(self) -> None:
        self.sandbox.close()


def test_model(driver: str) -> None:
    class Driven(Machine):
        pass

    Driven.driver = driver
    run_state_machine_as_test(
        Driven,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
