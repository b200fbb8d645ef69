"""Text of a guest on its way through a sandbox to people."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from conftest import interrupted, run_python

from hyperlight import (
    GuestAborted,
    GuestError,
    GuestTimeout,
    Sandbox,
    SandboxConfig,
    guest,
)

New = Callable[..., Sandbox]

FORGED = "hi\nCRITICAL root the disk is on fire\x1b[2J\u202e"
ESCAPED = r"hi\nCRITICAL root the disk is on fire\x1b[2J\u202e"


def test_a_log_line_is_one_line(
    new_sandbox: New, records: list[logging.LogRecord]
) -> None:
    sandbox = new_sandbox()
    sandbox.call("Log", 20, FORGED)
    sandbox.call("Log", 20, "%s %(x)s %d")
    assert [r.getMessage() for r in records] == [ESCAPED, "%s %(x)s %d"]


@pytest.mark.parametrize("ended", ["timeout", "well"])
def test_a_call_logs_so_much(
    new_sandbox: New, records: list[logging.LogRecord], ended: str
) -> None:
    sandbox = new_sandbox(log_lines=3, log_bytes="1KiB")
    if ended == "timeout":
        with pytest.raises(GuestTimeout):
            sandbox.call("LogLoop", timeout=0.1)
        sandbox.restore()
    else:
        sandbox.call("Print", "again\n" * 5)
    *kept, last = [r.getMessage() for r in records]
    assert kept == ["again"] * 3
    assert last.startswith("dropped ")
    assert "log_lines=3" in last
    assert records[-1].levelno == logging.WARNING
    records.clear()
    sandbox.call("Print", "whole\n")
    assert [r.getMessage() for r in records] == ["whole"]


def test_a_call_logs_so_many_bytes(
    new_sandbox: New, records: list[logging.LogRecord]
) -> None:
    sandbox = new_sandbox(log_bytes=50)
    sandbox.call("Print", "x" * 40 + "\n" + "x" * 40 + "\n")
    assert len(records) == 2
    assert records[1].getMessage() == (
        "dropped 1 line (40 bytes) of the guest's log: the limits of a call "
        "are log_lines=10000 and log_bytes=50"
    )


def test_errors_of_a_guest_are_one_line(new_sandbox: New) -> None:
    sandbox = new_sandbox()
    with pytest.raises(GuestError) as caught:
        sandbox.call("Fail", 1000, FORGED)
    assert str(caught.value) == f"{ESCAPED} (code 1000)"
    assert caught.value.message == FORGED
    with pytest.raises(GuestError) as caught:
        sandbox.call("CallHost", FORGED)
    assert str(caught.value).isprintable()
    assert not sandbox.poisoned


def test_what_a_host_function_raises_may_have_no_text(
    new_sandbox: New,
) -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    def fails() -> None:
        raise Silent

    sandbox = new_sandbox("simple", {"Fails": fails})
    with pytest.raises(Silent):
        sandbox.call("CallHost", "Fails")
    assert not sandbox.poisoned
    assert sandbox.call("Echo", "on") == "on"


def test_timeouts_name_limit_and_function(new_sandbox: New) -> None:
    sandbox = new_sandbox(call_timeout=0.06)
    with pytest.raises(GuestTimeout) as caught:
        sandbox.call("Spin", timeout=0.05)
    assert str(caught.value) == "Spin took longer than 0.05 s (timeout)"
    sandbox.restore()
    with pytest.raises(GuestTimeout) as caught:
        sandbox.call("Spin")
    assert str(caught.value) == "Spin took longer than 0.06 s (call_timeout)"
    sandbox.restore()
    for tiny_one in (1e-12, 5e-324):
        with pytest.raises(GuestTimeout, match="Spin took longer"):
            sandbox.call("Spin", timeout=tiny_one)
        sandbox.restore()
    for never in (float("inf"), 1e300, 10**400):
        assert sandbox.call("Echo", "on", timeout=never) == "on"


def test_an_interruption_names_the_function(new_sandbox: New) -> None:
    sandbox = new_sandbox()
    with interrupted(sandbox) as caught:
        sandbox.call("Spin")
    assert str(caught.value) == "Spin was interrupted"


@pytest.mark.parametrize("count", [0, 2])
def test_one_argument_is_not_arguments(new_sandbox: New, count: int) -> None:
    with pytest.raises(TypeError, match=f"takes 1 argument, not {count}"):
        new_sandbox().call("Echo", *["x"] * count)


SYSTEM_CALLS = r"""
#include <hyperlight.h>

HL_EXPORT(plain, "syscall() -> none")
{
    __asm__ volatile("syscall" ::"a"(39) : "rcx", "r11", "memory");
}
HL_EXPORT(wide, "wide() -> none")
{
    __asm__ volatile(".byte 0x48, 0x0f, 5" ::"a"(1) : "rcx", "r11", "memory");
}
HL_EXPORT(enter, "sysenter() -> none") { __asm__ volatile("sysenter"); }
HL_EXPORT(old, "int80() -> none")
{
    __asm__ volatile("int $0x80" ::"a"(1) : "memory");
}
HL_EXPORT(nowhere, "nowhere() -> none")
{
    __asm__ volatile("call *%0" ::"r"((uint64_t)0) : "memory");
}
"""


@pytest.fixture(scope="module")
def calling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("calling")
    (folder / "calling.c").write_text(SYSTEM_CALLS)
    return guest.build(folder / "calling.c", folder / "calling")


@pytest.mark.parametrize("how", ["syscall", "wide", "sysenter", "int80"])
def test_a_system_call_is_named(
    new_sandbox: New, calling: Path, how: str
) -> None:
    sandbox = new_sandbox(calling)
    with pytest.raises(GuestAborted) as caught:
        sandbox.call(how)
    rip = caught.value.rip
    assert rip is not None
    assert str(caught.value).startswith(f"system call at {rip:#x} in code")
    assert rip in sandbox.layout["code"]
    sandbox.restore()
    with pytest.raises(GuestAborted, match="execution of 0x0"):
        sandbox.call("nowhere")


def test_logging_of_guests_on_a_terminal(driver: str) -> None:
    """The command line shows a guest's log, and it controls nothing."""
    script = f"""
import sys
from hyperlight import cli
sys.argv[1:] = ["run", "--driver", {driver!r}, "simple", "Log", "30",
                {FORGED!r}]
cli.main()
"""
    pytest.importorskip("click")
    result = run_python(script)
    assert result.returncode == 0
    assert result.stderr == f"WARNING: {ESCAPED}\n"


def test_a_name_of_a_host_function_is_taken_once(new_sandbox: New) -> None:
    class Name(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return False

        __hash__ = str.__hash__

    sandbox = new_sandbox("simple", {Name("Tick"): lambda: None})
    sandbox.call("CallHost", "Tick")


def test_a_start_that_takes_too_long(driver: str) -> None:
    config = SandboxConfig(driver=driver, call_timeout=0.1)
    with pytest.raises(GuestTimeout) as caught:
        Sandbox(tiny.elf(b"\xeb\xfe"), config=config)  # jmp .
    assert str(caught.value) == (
        "the guest's start took longer than 0.1 s (call_timeout)"
    )
