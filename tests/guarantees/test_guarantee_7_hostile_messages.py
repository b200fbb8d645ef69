"""Guarantee 7: a guest that lies in its messages."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
import tiny
from conftest import interrupted
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_guarantee_7_hostile_guest import abort_of, code

from hyperlight import (
    GuestAborted,
    GuestError,
    GuestTimeout,
    HyperlightError,
    Sandbox,
    SandboxConfig,
)

New = Callable[..., Sandbox]
U64_MAX = 2**64 - 1


def raw(sandbox: Sandbox, reason: int, content: bytes) -> object:
    return sandbox.call("Raw", struct.pack("<Q", reason) + content, timeout=20)


GOOD = tiny.message(tiny.RESULT, tiny.value(tiny.NONE, 0))


def lied(at: int, content: int, width: int, whole: bytes = GOOD) -> bytes:
    new = content.to_bytes(width, "little")
    return whole[:at] + new + whole[at + width:]  # fmt: skip


TEXT = tiny.message(tiny.RESULT, tiny.value(tiny.STR, b"text"))
LIES = {
    "no magic": lied(0, 0, 4),
    "no kind": lied(4, 0, 4),
    "unknown kind": lied(4, 99, 4),
    "a call": lied(4, tiny.CALL, 4),
    "size 0": lied(8, 0, 8),
    "size too small": lied(8, 16, 8),
    "odd size": lied(8, 25, 8),
    "size huge": lied(8, U64_MAX, 8),
    "size beyond the buffer": lied(8, 1 << 20, 8),
    "no values": lied(16, 0, 4),
    "count huge": lied(16, 2**32 - 1, 4),
    "one value more": lied(16, 2, 4),
    "unknown result": lied(20, 77, 4),
    "unknown type": lied(24, 77, 4),
    "another type": lied(24, tiny.I32, 4),
    "none that is something": lied(32, 1, 8),
    "length huge": lied(32, U64_MAX, 8, TEXT),
    "length wraps": lied(32, U64_MAX - 7, 8, TEXT),
    "length beyond": lied(32, 9, 8, TEXT),
    "length into the sign": lied(32, 1 << 63, 8, TEXT),
    "trailing bytes": GOOD[:8] + (48).to_bytes(8, "little") + GOOD[16:]
    + bytes(8),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_lies_in_a_result(new_sandbox: New, name: str) -> None:
    sandbox = new_sandbox(tiny.parrot())
    with pytest.raises(GuestAborted, match="where a message was expected"):
        raw(sandbox, tiny.READY, LIES[name])
    assert sandbox.poisoned
    sandbox.restore()
    assert raw(sandbox, tiny.READY, GOOD) is None


@pytest.mark.parametrize("reason", [tiny.HOST_CALL, tiny.LOG_LINE,
                                    tiny.ABORT])  # fmt: skip
@pytest.mark.parametrize("name", LIES)
def test_lies_elsewhere(new_sandbox: New, reason: int, name: str) -> None:
    sandbox = new_sandbox(tiny.parrot())
    with pytest.raises(GuestAborted):
        raw(sandbox, reason, LIES[name])
    assert sandbox.poisoned


def test_text_that_is_no_text(new_sandbox: New) -> None:
    sandbox = new_sandbox(
        tiny.parrot(), host_functions={"H": lambda text: None}
    )
    bad = tiny.value(tiny.STR, b"\xff\xfe")
    for reason, content in (
        (tiny.READY, tiny.message(tiny.ERROR, tiny.value(tiny.I32, 1), bad)),
        (tiny.LOG_LINE, tiny.message(tiny.LOG, tiny.value(tiny.I32, 20), bad)),
        (tiny.HOST_CALL, tiny.message(tiny.CALL, bad)),
        (
            tiny.HOST_CALL,
            tiny.message(tiny.CALL, tiny.value(tiny.STR, b"H"), bad),
        ),
    ):
        with pytest.raises(GuestAborted, match="UTF-8"):
            raw(sandbox, reason, content)
        sandbox.restore()


def test_what_it_may_say(new_sandbox: New) -> None:
    seen: list[object] = []
    sandbox = new_sandbox(
        tiny.parrot(), host_functions={"H": lambda *a: seen.append(a)}
    )
    five = tiny.value(tiny.I32, 5)
    error = tiny.message(tiny.ERROR, five, tiny.value(tiny.STR, b"no"))
    with pytest.raises(GuestError, match=r"no \(code 5\)") as caught:
        raw(sandbox, tiny.READY, error)
    assert (caught.value.code, caught.value.message) == (5, "no")
    assert not sandbox.poisoned
    with pytest.raises(GuestAborted, match="gave up: no"):
        raw(sandbox, tiny.ABORT, error)
    sandbox.restore()
    # Afterwards it says READY with what is in the output: the call itself.
    call = tiny.message(tiny.CALL, tiny.value(tiny.STR, b"H"), five)
    with pytest.raises(GuestAborted, match="neither a result nor"):
        raw(sandbox, tiny.HOST_CALL, call)
    assert seen == [(5,)]


def test_names_that_are_none(driver: str) -> None:
    for text in (
        *(
            "",
            "f",
            "f()",
            "f() ->",
            "f() -> ",
            "() -> none",
            "f(none) -> none",
        ),
        *("f() -> text", "f(int) -> none", "f(int32,int32) -> none", "1()"),
        *("f(int32) -> none\n", "f g() -> none", "\x00() -> none"),
        "x" * 129 + "() -> none",
        "f(" + ", ".join(["int32"] * 65) + ") -> none",
    ):
        file = tiny.guest(b"\x0f\x0b", text)
        with pytest.raises(GuestAborted, match=r"exports|takes too many"):
            Sandbox(file, config=SandboxConfig(driver=driver))
    twice = tiny.guest(b"\x0f\x0b", "f() -> none", "f() -> str")
    with pytest.raises(GuestAborted, match="two functions"):
        Sandbox(twice, config=SandboxConfig(driver=driver))


words = st.one_of(
    st.integers(0, 30),
    st.sampled_from([24, 40, 48, 56, 2**31, 2**32 - 1, 2**63, U64_MAX]),
    st.integers(0, U64_MAX),
)
kinds = st.integers(0, 11)
values = st.one_of(
    st.builds(tiny.value, kinds, st.integers(0, U64_MAX)),
    st.builds(tiny.value, kinds, st.binary(max_size=40)),
    st.builds(tiny.value, kinds, st.text(max_size=10).map(str.encode)),
    st.binary(max_size=24),
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Something that looks like a message, more or less."""
    made = bytearray(
        tiny.message(
            draw(st.integers(0, 7)),
            *draw(st.lists(values, max_size=5)),
            result=draw(kinds),
        )
    )
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(made) // 8 - 1)) * 8
        made[at : at + 8] = draw(words).to_bytes(8, "little")
    return bytes(made[: draw(st.integers(0, len(made)))])


CALL_WITH_NAN = tiny.message(
    tiny.CALL,
    tiny.value(tiny.STR, b"H"),
    tiny.value(tiny.F64, U64_MAX),
    result=tiny.STR,
)
EMPTY_LINE = tiny.message(
    tiny.LOG, tiny.value(tiny.I32, -1), tiny.value(tiny.STR, b"")
)


def test_fuzz(new_sandbox: New) -> None:
    """No message does more than raise one of our errors."""
    config = {"output_size": 8192, "input_size": 8192}
    sandbox = new_sandbox(
        tiny.parrot(), host_functions={"H": lambda *a: repr(a)}, **config
    )

    @settings(
        max_examples=300,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 6), messages())
    @example(tiny.READY, GOOD)
    @example(tiny.READY, TEXT)
    @example(tiny.HOST_CALL, tiny.message(tiny.CALL))
    @example(tiny.HOST_CALL, CALL_WITH_NAN)
    @example(tiny.LOG_LINE, EMPTY_LINE)
    @example(tiny.READY, b"")
    @example(tiny.READY, bytes(8000))
    @example(tiny.HOST_CALL, b"\xff" * 8000)
    def run(reason: int, content: bytes) -> None:
        try:
            raw(sandbox, reason, content)
        except HyperlightError:
            sandbox.restore()
            assert not sandbox.poisoned

    run()
    sandbox.restore()
    sandbox.verify()


def loop_of_host_calls() -> bytes:
    """Calls host function H for ever."""
    call = tiny.message(tiny.CALL, tiny.value(tiny.STR, b"H"))
    exports = tiny.functions("Go() -> none")
    start = len(exports)
    body = (
        code("488b7b30")
        + b"\x48\xbe" + (tiny.DATA + start).to_bytes(8, "little")
        + b"\x48\xb9" + len(call).to_bytes(8, "little")
        + b"\xf3\xa4" + b"\xb8\x02\x00\x00\x00" + b"\xe6\x48"
    )  # fmt: skip
    body += b"\xeb" + (-len(body) - 2).to_bytes(1, "little", signed=True)
    file = tiny.guest(body)
    # Its data, which is the end of the file, goes on with the call.
    return file[: 2 * 4096 + start] + call


def grown(file: bytes, size: int) -> bytes:
    """The file with that much writable data."""
    at = 64 + 56 + 32
    return file[:at] + struct.pack("<QQ", size, size) + file[at + 16 :]


def test_an_endless_loop_of_host_calls_times_out(new_sandbox: New) -> None:
    file = loop_of_host_calls()
    count = 0

    def host() -> None:
        nonlocal count
        count += 1

    sandbox = new_sandbox(
        grown(file, len(file) - 2 * 4096), host_functions={"H": host}
    )
    with pytest.raises(GuestTimeout):
        sandbox.call("Go", timeout=0.1)
    assert count > 1
    sandbox.restore()
    with interrupted(sandbox):
        sandbox.call("Go", timeout=60)


def test_another_sandbox_is_out_of_reach(new_sandbox: New) -> None:
    """Every address but its own faults, whatever else lives here."""
    secret = new_sandbox(tiny.guest(b"\x0f\x0b"))
    own = secret.layout
    read = code("488b4038 8a00 0f0b")  # mov 0x38(%rax), %rax; mov (%rax), %al
    sandbox = new_sandbox(tiny.guest(read, "Go(uint64) -> none"))
    for address in (
        *(0, 8, 0xFFFF, 0x10000, 0x20000, 0x100000, own["input"].end),
        *(own["stack"].address - 1, own["heap"].address - 1, 2**32, 2**40),
        *(2**47 - 4096, 2**47, 2**63, U64_MAX, id(secret)),
    ):
        error = abort_of(sandbox, address)
        assert error.vector in (13, 14), hex(address)
        sandbox.restore()
