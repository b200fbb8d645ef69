"""The debuggers' commands, read out of their page, do what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import HERE, require_tracker

PAGE = HERE.parent / "docs/howto/debug-gdb.md"
PROGRAM = str(HERE / "subprocess" / "debugged.py")

pytestmark = [
    pytest.mark.skipif(
        not PAGE.exists(), reason="the documentation is not beside the tests"
    ),
    pytest.mark.unsanitized,
    pytest.mark.any_python,
]


def documented(debugger: str) -> list[str]:
    block = re.search(rf"```{debugger}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block
    return block[1].splitlines()


def run(command: list[str], tmp_path: Path) -> str:
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "DEBUGINFOD_URLS": ""},
    )
    output = result.stdout + result.stderr
    for refusal in ("ptrace: Operation not permitted", "not permitted"):
        if refusal in output:
            pytest.skip(f"debugging is forbidden here: {refusal}")
    return output


def gdb(lines: list[str], tmp_path: Path, *program: str) -> str:
    if shutil.which("gdb") is None:
        pytest.skip("gdb is not installed")
    commands = [part for line in lines for part in ("-ex", line)]
    return run(
        [
            "gdb",
            "-nx",
            "-batch",
            *commands,
            "--args",
            sys.executable,
            *program,
        ],
        tmp_path,
    )


def test_gdb_passes_tracking_faults_on(trap: str, tmp_path: Path) -> None:
    output = gdb(documented("gdb"), tmp_path, PROGRAM, trap)
    assert "dirty [2, 9] changed [2, 9]" in output, output
    assert "exited normally" in output


def test_gdb_stops_without_being_told(trap: str, tmp_path: Path) -> None:
    output = gdb(["run"], tmp_path, PROGRAM, trap)
    assert "received signal SIG" in output
    assert "dirty" not in output


def test_gdb_tells_a_tracking_fault(tmp_path: Path) -> None:
    require_tracker("sigsegv")
    output = gdb(
        [
            "run",
            "print $_siginfo.si_code",
            "print $_siginfo._sifields._sigfault.si_addr",
        ],
        tmp_path,
        PROGRAM,
        "sigsegv",
    )
    assert "$1 = 2" in output, output
    assert re.search(r"\$2 = \(void \*\) 0x[0-9a-f]+", output)


@pytest.mark.parametrize(
    ("tracker", "dirty", "says"),
    [
        ("uffd", "[2, 5, 9]", ""),
        ("uffd-sigbus", "[2, 9]", "Cannot access memory"),
        ("sigsegv", "[2, 9]", ""),
    ],
)
def test_gdb_writes(
    tracker: str, dirty: str, says: str, tmp_path: Path
) -> None:
    """The table of what becomes of a debugger's own write."""
    require_tracker(tracker)
    if os.uname().machine != "x86_64":
        pytest.skip("reads an argument out of a register of x86-64")
    lines = [
        "set breakpoint pending on",
        *documented("gdb")[:2],
        "break getpriority",
        "run",
        "set *(char*)$rsi = 42",
        "continue",
    ]
    output = gdb(lines, tmp_path, PROGRAM, tracker, "pause")
    assert f"dirty {dirty} changed" in output, output
    assert says in output


def test_lldb_passes_tracking_faults_on(trap: str, tmp_path: Path) -> None:
    if shutil.which("lldb") is None:
        pytest.skip("lldb is not installed")
    commands = [part for line in documented("lldb") for part in ("-o", line)]
    output = run(
        [
            *("lldb", "--no-lldbinit", "--batch"),
            *("-o", "settings set target.disable-aslr false"),
            *commands,
            *("--", sys.executable, PROGRAM, trap),
        ],
        tmp_path,
    )
    if "unable to locate lldb-server" in output or "personality" in output:
        pytest.skip("lldb cannot start processes here")
    assert "dirty [2, 9] changed [2, 9]" in output, output
    assert "exited with status = 0" in output
