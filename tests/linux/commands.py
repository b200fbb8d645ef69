"""The commands that run programs, and what they need of this host."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import hyperlight
from hyperlight import registry
from hyperlight.cli import cli

#: Not the sources, which have no built core.
HERE = Path(__file__).parent
HYPERLIGHT = [sys.executable, "-m", "hyperlight"]


def _with_driver(args: tuple[str, ...]) -> tuple[str, ...]:
    """The best by name: of an emulator that it chose, `exec` would warn."""
    usable = [info.name for info in hyperlight.drivers() if info.available]
    if args[:1] != ("exec",) or "--driver" in args or not usable:
        return args
    return ("exec", "--driver", usable[0], *args[1:])


def require_program(name: str) -> str:
    """The path of a program of this host, or skip."""
    if not any(info.available for info in hyperlight.drivers()):
        pytest.skip("no driver works here")
    if platform.machine() != "x86_64":
        pytest.skip("programs of this host are for another processor")
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no program {name!r} here")
    return found


def require_python() -> None:
    """Skip where an interpreter does not start within seconds."""
    hardware = {d.name for d in registry.DRIVERS if d.is_boundary}
    for info in hyperlight.drivers():
        if info.available and info.name in hardware:
            return
    pytest.skip("no driver that runs an interpreter within seconds works here")


def run(*args: str, data: bytes | None = None) -> Result:
    """A command in this process."""
    return CliRunner(env={"COLUMNS": "80"}).invoke(
        cli, _with_driver(args), input=data, catch_exceptions=False
    )


def run_outside(
    *args: str, **kwargs: Any
) -> subprocess.CompletedProcess[bytes]:
    """A command in a process of its own."""
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    if "stdout" not in kwargs:
        kwargs["stdout"] = subprocess.PIPE
    return subprocess.run(
        [*HYPERLIGHT, *_with_driver(args)],
        stderr=subprocess.PIPE,
        check=False,
        timeout=120,
        cwd=HERE,
        **kwargs,
    )
