"""Whoever comes to a Python sandbox at the wrong moment."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import fake_machine
import pytest
from conftest import run_python
from fake_machine import OK, FakePython, Recorded, on, recorded
from python_sandboxes import Make

from hyperlight import GuestInterrupted
from hyperlight.linux.guest.packets import ASK
from hyperlight.linux.guest.values import encode

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.unsanitized,  # no C runs
]

CALLS = ASK + encode(("f", encode(()), encode({})))


def uses(sandbox: FakePython) -> list[Callable[[], Any]]:
    return [
        lambda: sandbox.run("1"),
        lambda: sandbox.call("json:loads", "1"),
        sandbox.snapshot,
        sandbox.restore,
        sandbox.changed,
        sandbox.close,
    ]


def test_a_handler_of_output_cannot_use_its_sandbox(make: Make) -> None:
    caught: list[str] = []

    def handler(text: str) -> None:
        for use in uses(sandbox):
            with pytest.raises(RuntimeError, match="middle of a run") as error:
                use()
            caught.append(str(error.value))

    sandbox = make(on_stdout=handler)
    assert sandbox.run("print(1)\n2").value == 2
    assert len(caught) == 6
    assert caught[0].startswith("run: ")


def test_a_signal_handler_cannot_use_its_sandbox() -> None:
    refused: list[BaseException] = []

    def handler(number: int, frame: object) -> None:
        for use in uses(sandbox):
            try:
                use()
            except RuntimeError as error:
                refused.append(error)

    class Struck(Recorded):
        def exchange(self, packet: bytes, timeout: float | None) -> bytes:
            signal.raise_signal(signal.SIGUSR1)
            return super().exchange(packet, timeout)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with on(Struck(OK)) as sandbox:
            sandbox.run("1")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(refused) == 6


def test_a_ctrl_c_in_the_restore_is_made_good() -> None:
    conversation = Recorded(OK, OK, OK, OK)
    done = conversation.done
    with on(conversation) as sandbox:
        for use in (
            lambda: sandbox.run("2"),
            sandbox.snapshot,
            sandbox.changed,
        ):
            conversation.strikes = KeyboardInterrupt()
            with pytest.raises(KeyboardInterrupt):
                sandbox.run("1")
            assert done == ["exchange"]
            use()
            assert done[1] == "restore None"
            assert len(done) > 2
            del done[:]
            conversation.answers = [OK] * 2


def test_what_was_put_back_by_hand_is_not_put_back_again() -> None:
    conversation = Recorded(OK, OK)
    with on(conversation) as sandbox:
        conversation.strikes = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            sandbox.run("1")
        sandbox.restore("a state")
        sandbox.run("2")
    assert conversation.done == [
        "exchange", "restore a state", "exchange", "restore None", "close",
    ]  # fmt: skip


def test_an_interrupt_reaches_a_run_that_is_in_a_host_function() -> None:
    conversation = Recorded(CALLS, OK, OK)
    with on(
        conversation, host_functions={"f": lambda: sandbox.interrupt()}
    ) as sandbox:
        with pytest.raises(GuestInterrupted, match="run was interrupted"):
            sandbox.run("1")
        assert conversation.done == ["exchange", "interrupt", "restore None"]
        sandbox.interrupt()  # nobody is there
        sandbox.run("2")


def test_a_child_of_fork_can_only_close_it() -> None:
    """Also if another thread of the parent was in the middle of a run."""
    inside, go_on = threading.Event(), threading.Event()

    def f() -> None:
        inside.set()
        go_on.wait(60)

    conversation = Recorded(CALLS, OK)
    sandbox = on(conversation, host_functions={"f": f})
    runs = threading.Thread(target=sandbox.run, args=("1",))
    runs.start()
    assert inside.wait(60)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(60)  # in place of for ever
            with pytest.raises(ValueError, match="child of fork can only"):
                sandbox.run("1")
            sandbox.close()
            assert sandbox.closed
            assert conversation.done == ["exchange", "close"]
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    go_on.set()
    runs.join()
    sandbox.close()
    assert status == 0


def test_dropping_one_frees_it_at_once() -> None:
    sandbox, done = recorded(OK)
    sandbox.run("1")
    seen = weakref.ref(sandbox)
    sandbox.close()
    gc.disable()
    try:
        del sandbox
        assert seen() is None
    finally:
        gc.enable()
    assert done[-1] == "close"


@pytest.mark.skipif(sys.flags.dev_mode, reason="python -X dev")
def test_unclosed_warns_in_dev_mode() -> None:
    result = run_python(
        f"""
import sys
sys.path.insert(0, {os.path.dirname(fake_machine.__file__)!r})
from fake_machine import recorded
sandbox, _ = recorded()
del sandbox
sandbox, _ = recorded()
sandbox.close()
""",
        env={"PYTHONDEVMODE": "1"},
    )
    assert result.stderr.count("unclosed <PythonSandbox, ready>") == 1
