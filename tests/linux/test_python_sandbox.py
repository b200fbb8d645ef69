"""The face of a Python sandbox, over a process in place of a machine."""

from __future__ import annotations

import asyncio
import contextvars
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_machine import OK, FakeConversation, recorded
from python_sandboxes import Make

from hyperlight import (
    GuestAborted,
    GuestError,
    GuestTimeout,
    LimitExceeded,
    RunStats,
    SandboxConfig,
)
from hyperlight.errors import ProgramExited
from hyperlight.linux import python as python_module
from hyperlight.linux.answers import Answers
from hyperlight.linux.dialogue import Dialogue, Limits
from hyperlight.linux.guest.packets import (
    ASK,
    FAILED,
    KNOWN,
    NOTHING,
    PLAIN,
    RESULT,
    ROOM,
    RUN,
    SHOWN,
)
from hyperlight.linux.guest.values import decode, encode
from hyperlight.linux.results import PythonError

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.unsanitized,  # no C runs
]


def test_a_run_leaves_nothing(make: Make) -> None:
    sandbox = make()
    assert sandbox.run("x = 1\nx").value == 1
    error = sandbox.run("x").error
    assert error is not None
    assert error.type == "NameError"


def test_result(make: Make) -> None:
    result = make().run("print('out')\nimport sys\nsys.stderr.write('e')\n[3]")
    assert result.value == [3]
    assert (result.stdout, result.stderr) == ("out\n", "e")
    assert result.error is None
    assert isinstance(result.stats, RunStats)
    assert result.stats.seconds > 0
    assert result.stats.host_calls == 0


def test_call(make: Make) -> None:
    sandbox = make()
    assert sandbox.call("json:loads", '{"a": [1, null]}') == {"a": [1, None]}
    assert sandbox.call("os.path:join", "a", "b") == "a/b"
    assert sandbox.call("builtins:dict", a=1, b=(2,)) == {"a": 1, "b": (2,)}
    assert sandbox.call("builtins:str.upper", "x") == "X"


def test_errors_of_calls(make: Make) -> None:
    sandbox = make()
    with pytest.raises(GuestError, match="JSONDecodeError: Expecting") as got:
        sandbox.call("json:loads", "{")
    assert isinstance(got.value, PythonError)
    assert got.value.type == "json.decoder.JSONDecodeError"
    assert "decoder.py" in got.value.traceback
    assert got.value.stdout == b""
    with pytest.raises(PythonError, match="ModuleNotFoundError"):
        sandbox.call("nonesuch:f")
    with pytest.raises(PythonError, match="AttributeError"):
        sandbox.call("json:nonesuch")
    with pytest.raises(
        PythonError, match=r"TypeError: result\[0\] is of type"
    ):
        sandbox.call("itertools:tee", [1])
    with pytest.raises(ValueError, match="not of the form"):
        sandbox.call("json")


def test_the_guest_does_not_run_for_wrong_arguments(make: Make) -> None:
    sandbox = make()
    conversation = sandbox._conversation
    assert isinstance(conversation, FakeConversation)
    with pytest.raises(TypeError, match=r"^inputs\['a'\]\[1\] is of type set"):
        sandbox.run("a", inputs={"a": [1, {2}]})
    with pytest.raises(ValueError, match="no name of a variable"):
        sandbox.run("a", inputs={"a b": 1})
    with pytest.raises(TypeError, match=r"^args\[0\] is of type object"):
        sandbox.call("json:dumps", object())
    with pytest.raises(TypeError, match=r"^kwargs\['x'\] is of type object"):
        sandbox.call("json:dumps", x=object())
    with pytest.raises(TypeError, match="is not a str"):
        sandbox.run(b"1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not above 0"):
        sandbox.run("1", timeout=-1)
    with pytest.raises(ValueError, match="at most"):
        sandbox.run("1#" + "x" * (16 << 20))
    assert conversation.exchanges == 0


class Asked(Exception):
    pass


def fail(text: str) -> None:
    raise Asked(text)


HOST: dict[str, Callable[..., Any]] = {
    "add": lambda a, b=1: a + b,
    "fail": fail,
    "odd": lambda: [1, {2}],
    "echo": lambda *args, **kwargs: [list(args), kwargs],
}


def test_host_functions(make: Make) -> None:
    sandbox = make(host_functions=HOST)
    result = sandbox.run("import host\n[host.add(2, b=3), host.add(1)]")
    assert result.value == [5, 2]
    assert result.stats.host_calls == 2
    result = sandbox.run("from host import echo\necho(1, (2, b'3'), k={4: 5})")
    assert result.value == [[1, (2, b"3")], {"k": {4: 5}}]
    assert sandbox.run(
        "import host\nhasattr(host, 'add'), hasattr(host, 'nope')"
    ).value == (True, False)


def test_exceptions_of_host_functions(make: Make) -> None:
    sandbox = make(host_functions=HOST)
    result = sandbox.run(
        "import host\ntry:\n    host.fail('why')\n"
        "except RuntimeError as e:\n    got = [e.type, e.message, str(e)]\ngot"
    )
    assert result.value == ["Asked", "why", "Asked: why"]
    error = sandbox.run("import host\nhost.fail('why')").error
    assert error is not None
    assert error.type == "host.HostError"
    assert error.message == "Asked: why"
    assert isinstance(error.__cause__, Asked)
    assert "line 2, in <module>\n    host.fail" in error.traceback
    error = sandbox.run("import host\nhost.odd()").error
    assert error is not None
    assert "odd()[1] is of type set" in error.message
    error = sandbox.run("import host\nhost.add(1, 2, 3)").error
    assert error is not None
    assert error.message.startswith("TypeError: ")


def test_what_ends_the_host_ends_the_run(make: Make) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    sandbox = make(host_functions={"stop": stop})
    with pytest.raises(KeyboardInterrupt):
        sandbox.run("import host\nhost.stop()")
    assert sandbox.run("1").value == 1


def test_host_functions_may_be_async(make: Make) -> None:
    mark = contextvars.ContextVar("mark", default="unset")

    async def wait(x: int) -> tuple[int, str]:
        await asyncio.sleep(0)
        return x + 1, mark.get()

    async def wrong() -> None:
        raise Asked("late")

    sandbox = make(host_functions={"wait": wait, "wrong": wrong})
    code = "import host\nhost.wait(1)"
    mark.set("here")
    assert sandbox.run(code).value == (2, "here")

    async def inside() -> object:
        assert "Asked: late" in str(
            sandbox.run("import host\nhost.wrong()").error
        )
        return sandbox.run(code).value

    assert asyncio.run(inside()) == (2, "here")


def test_a_host_function_cannot_use_its_sandbox(make: Make) -> None:
    caught: list[BaseException] = []

    def again() -> None:
        for what in (
            lambda: sandbox.run("1"),
            lambda: sandbox.call("json:loads", "1"),
            sandbox.snapshot,
            sandbox.restore,
            sandbox.close,
        ):
            try:
                what()
            except RuntimeError as error:
                caught.append(error)

    async def later() -> None:
        again()

    sandbox = make(host_functions={"again": again, "later": later})
    sandbox.run("import host\nhost.again()\nhost.later()")
    assert len(caught) == 10
    assert "called from one of its host functions" in str(caught[0])


@pytest.mark.parametrize("name", ["a b", "class", "__x__", "HostError", ""])
def test_names_of_host_functions(name: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be called as host\.name"):
        Answers({name: print}, 100)
    with pytest.raises(TypeError, match="cannot be called"):
        Answers({"a": 1}, 100)  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="not a str"):
        Answers({1: print}, 100)  # type: ignore[dict-item]


def test_timeouts_carry_the_output(make: Make) -> None:
    sandbox = make()
    sandbox.run("1")
    with pytest.raises(GuestTimeout, match=r"run took longer than 4 s") as got:
        sandbox.run(
            "print('so far')\nprint('no end', end='')\nwhile True:\n    pass",
            timeout=4,
        )
    assert got.value.stdout == b"so far\n"
    assert sandbox.run("1").value == 1


def test_time_in_host_functions_does_not_count(make: Make) -> None:
    sandbox = make(host_functions={"slow": threading.Event().wait})
    sandbox.run("1")
    code = "import host\nhost.slow(1.5)\nhost.slow(1.5)\n5"
    result = sandbox.run(code, timeout=2.5)
    assert result.value == 5
    assert result.stats.seconds < 2.5


def test_an_end_of_the_interpreter(make: Make) -> None:
    sandbox = make()
    with pytest.raises(ProgramExited, match="exited with 3") as got:
        sandbox.run("import os\nprint('last')\nos._exit(3)")
    assert got.value.exit_code == 3
    assert got.value.stdout == b"last\n"
    with pytest.raises(ProgramExited, match="signal 11"):
        sandbox.run("import ctypes\nctypes.string_at(8)")
    assert sandbox.run("1").value == 1


def test_output_is_limited(make: Make) -> None:
    sandbox = make(config=SandboxConfig(output_limit=1000))
    with pytest.raises(LimitExceeded, match="output_limit=1000") as got:
        sandbox.run("print('x' * 2000)")
    assert got.value.stdout == b"x" * 1000


def test_values_are_limited(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(python_module, "_PACKET", 100_000)
    result = make().run("'x' * 200_000")
    assert result.value is None
    assert result.repr is not None
    assert result.repr.startswith("'xxx")
    error = make().run("import host\nhost.f('x' * 200_000)")
    assert error.error is not None
    with pytest.raises(PythonError, match="result takes more than 100000"):
        make().call("builtins:str.ljust", "x", 200_000)


def test_streams(make: Make) -> None:
    pieces: list[tuple[str, str]] = []
    sandbox = make(
        on_stdout=lambda text: pieces.append(("out", text)),
        on_stderr=lambda text: pieces.append(("err", text)),
        host_functions={"now": lambda: pieces.append(("host", ""))},
    )
    code = (
        "import host, os, sys\nprint('a')\nos.write(1, b'\\xc3')\nhost.now()\n"
        "os.write(1, b'\\xa9\\xff')\nsys.stderr.write('b')\n1"
    )
    result = sandbox.run(code)
    assert result.stdout == "a\né\\xff"
    assert pieces == [
        ("out", "a\n"), ("host", ""), ("out", "é\\xff"), ("err", "b"),
    ]  # fmt: skip
    own: list[str] = []
    sandbox.run("print('c')", on_stdout=own.append)
    assert own == ["c\n"]
    assert len(pieces) == 4


def test_paths(make: Make, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(x):\n    return x * 2\n")
    assert make(paths=[tmp_path]).call("mine:f", 4) == 8


def test_preload(make: Make) -> None:
    numpy = pytest.importorskip("numpy")
    sandbox = make(preload=["numpy"])
    code = (
        "import numpy as np, sys\n"
        "[float(np.arange(5).sum()), np.random.rand(), sys.path[-1]]"
    )
    one, other = (sandbox.run(code) for _ in range(2))
    assert one.error is None, one.error.traceback
    assert one.value[0] == numpy.arange(5).sum()
    assert one.value[1] != other.value[1]


def test_a_preload_that_cannot_be_imported(make: Make, tmp_path: Path) -> None:
    sandbox = make(paths=[tmp_path], preload=["json"])
    assert sandbox.run("1").value == 1
    with pytest.raises(ValueError, match="no module or distribution"):
        make(preload=["nonesuch"])


def test_use_after_close(make: Make) -> None:
    sandbox = make()
    sandbox.close()
    sandbox.close()
    assert sandbox.closed
    for what in (lambda: sandbox.run("1"), sandbox.snapshot, sandbox.restore):
        with pytest.raises(ValueError, match="closed PythonSandbox"):
            what()
    sandbox.interrupt()
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(sandbox)


def test_errors_are_pickled_and_shown() -> None:
    error = PythonError("E", "a\x1b\nb", "trace")
    again = pickle.loads(pickle.dumps(error))
    assert (again.type, again.message, again.traceback) == (
        "E", "a\x1b\nb", "trace",
    )  # fmt: skip
    assert str(error) == "E: a\\x1b\\nb"
    assert isinstance(error, GuestError)


class Scripted:
    """A conversation that says what it is told to."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.heard: list[bytes] = []

    def exchange(self, packet: bytes, timeout: float | None) -> bytes:
        self.heard.append(packet)
        return self.answers.pop(0)

    def output(self) -> tuple[bytes, bytes]:
        return b"", b""


def ask(*answers: bytes, size: int = 0) -> tuple[Any, Scripted]:
    conversation = Scripted(*answers)
    talk = Dialogue(
        conversation,  # type: ignore[arg-type]
        Answers(HOST, 10_000),
        Limits("run", None, "timeout", 100_000, 1000),
        None,
        None,
    )
    return talk.request(RUN, b"x" * size), conversation


LONG = encode(("x" * 70_000,))


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"x",
        RESULT,
        RESULT + NOTHING + b"x",
        RESULT + PLAIN,
        RESULT + PLAIN + b"NN",
        RESULT + PLAIN + b"l\xff\xff\xff\xff",
        RESULT + b"?" + b"N",
        RESULT + SHOWN + b"N",
        RESULT + SHOWN + encode((1,)),
        RESULT + SHOWN + LONG,
        RESULT + FAILED + encode(("a", "b")),
        RESULT + FAILED + encode(["a", "b", "c"]),
        RESULT + FAILED + encode(("a", "b", 3)),
        RESULT + FAILED + encode(("a", "b", "x" * 70_000)),
        ROOM,
        RUN,
        KNOWN + b"N",
        KNOWN + encode([1]),
        ASK + b"N",
        ASK + encode(("add", b"N")),
        ASK + encode((1, encode(()), encode({}))),
        ASK + encode(("add", b"", encode({}))),
        ASK + encode(("add", encode([]), encode({}))),
        ASK + encode(("add", encode(()), encode([]))),
        ASK + encode(("add", encode(()), encode({1: 2}))),
    ],
)
def test_a_guest_that_breaks_the_protocol(packet: bytes) -> None:
    with pytest.raises(GuestAborted, match="the guest broke the protocol"):
        ask(packet)


def test_a_packet_that_is_too_large() -> None:
    with pytest.raises(LimitExceeded, match="packet_size=100000"):
        ask(RESULT + PLAIN + encode(b"x" * 200_000))


def test_a_large_request_asks_for_room_first() -> None:
    outcome, conversation = ask(ROOM, RESULT + NOTHING, size=90_000)
    assert not outcome.has_value
    room, request = conversation.heard
    assert decode(room[1:]) == len(request)
    with pytest.raises(GuestAborted, match="no room"):
        ask(RESULT + NOTHING, size=90_000)


def test_a_missing_host_function() -> None:
    packet = ASK + encode(("n\x1bo", encode(()), encode({})))
    _, conversation = ask(packet, RESULT + NOTHING)
    assert decode(conversation.heard[1][1:]) == (
        "AttributeError",
        "the host has no function n\\x1bo",
    )


def test_every_request_has_entropy_of_its_own() -> None:
    heard = {ask(RESULT + NOTHING)[1].heard[0] for _ in range(10)}
    assert len(heard) == 10
    assert {len(packet) for packet in heard} == {33}


def test_what_was_kept_begins_the_next_run(needs_machine: Make) -> None:
    sandbox = needs_machine()
    sandbox.run("x = 1", keep=True)
    assert sandbox.run("x").value == 1
    sandbox.run("x = 2")
    assert sandbox.run("x").value == 1
    sandbox.run("x = 3", keep=True)
    sandbox.restore()
    assert sandbox.run("x").value == 1


def test_a_session(needs_machine: Make) -> None:
    sandbox = needs_machine()
    with sandbox.session() as session:
        session.run("def f(x):\n    return x + n")
        session.run("n = 2")
        assert session.call("__main__:f", 3) == 5
        with pytest.raises(GuestTimeout):
            session.run("n = 9\nwhile True:\n    pass", timeout=0.5)
        assert session.call("__main__:f", 3) == 5
    assert sandbox.run("'n' in globals()").value is False


def test_snapshots(needs_machine: Make) -> None:
    sandbox = needs_machine()
    base = sandbox.snapshot()
    sandbox.run("x = 1", keep=True)
    first = sandbox.snapshot()
    sandbox.restore(base)
    assert sandbox.run("'x' in globals()").value is False
    sandbox.restore(first)
    assert sandbox.run("x").value == 1


def test_runs_put_the_state_back() -> None:
    sandbox, done = recorded(OK, OK, GuestAborted("x"), b"?", OK)
    sandbox.run("1")
    sandbox.call("a:b")
    for _ in range(2):
        with pytest.raises(GuestAborted):
            sandbox.run("1", keep=True)
    assert done == ["exchange", "restore None"] * 4


def test_what_is_kept_is_current_from_the_next_run_on() -> None:
    sandbox, done = recorded(*[OK] * 4, GuestAborted("x"), OK)
    sandbox.run("1", keep=True)
    sandbox.run("2", keep=True)
    assert done == ["exchange", "snapshot", "exchange"]
    del done[:]
    sandbox.run("3")
    sandbox.run("4", keep=True)
    assert done == ["snapshot", "exchange", "restore None", "exchange"]
    del done[:]
    with pytest.raises(GuestAborted):
        sandbox.run("5", keep=True)
    assert done == ["snapshot", "exchange", "restore None"]
    del done[:]
    sandbox.run("6")
    assert done == ["exchange", "restore None"]


def test_a_session_keeps_and_goes_back() -> None:
    sandbox, done = recorded(OK, OK, OK)
    with sandbox.session():
        sandbox.run("1")
        sandbox.call("a:b")
    sandbox.run("2")
    assert done == [
        "snapshot", "exchange", "snapshot", "exchange", "restore state 1",
        "exchange", "restore None",
    ]  # fmt: skip
    with pytest.raises(Asked), sandbox.session():
        raise Asked
    with sandbox.session():
        sandbox.close()


def test_one_runs_at_a_time(make: Make) -> None:
    inside = threading.Event()
    go_on = threading.Event()

    def wait() -> None:
        inside.set()
        go_on.wait(20)

    sandbox = make(host_functions={"wait": wait})
    first = threading.Thread(
        target=sandbox.run, args=("import host\nhost.wait()",)
    )
    results: list[Any] = []
    second = threading.Thread(
        target=lambda: results.append(sandbox.run("2").value)
    )
    first.start()
    inside.wait(20)
    second.start()
    second.join(0.3)
    assert second.is_alive()
    go_on.set()
    first.join()
    second.join()
    assert results == [2]
