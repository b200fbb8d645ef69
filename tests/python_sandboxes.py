"""Fixtures: interpreters of this host, and Python sandboxes."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_machine import FakePython

import hyperlight
from hyperlight import PythonSandbox, SandboxConfig, registry

HARDWARE = {d.name for d in registry.DRIVERS if d.is_boundary}


def _interpreters() -> list[str]:
    """The one that runs this, Debian's, and all of pyenv's that can be."""
    found = {os.path.realpath(sys.executable): sys.executable}
    others = ["/usr/bin/python3"]
    for version in ("3.10", "3.11", "3.12", "3.13", "3.14"):
        pattern = f"~/.pyenv/versions/{version}.*/bin/python{version}"
        others += sorted(glob.glob(os.path.expanduser(pattern)))
    for path in others:
        if os.path.exists(path):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


@pytest.fixture(params=_interpreters())
def interpreter_path(request: pytest.FixtureRequest) -> str:
    """Each interpreter that there is."""
    path: str = request.param
    return path


Make = Callable[..., FakePython]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes sandboxes, and closes them."""
    made: list[FakePython] = []

    def sandbox(*args: Any, **kwargs: Any) -> FakePython:
        made.append(FakePython(*args, **kwargs))
        return made[-1]

    yield sandbox
    for one in made:
        one.close()


@pytest.fixture
def needs_machine(python_driver: str) -> Iterator[Callable[..., Any]]:
    """Makes sandboxes whose states can be kept and put back."""
    made: list[PythonSandbox] = []

    def sandbox(*args: Any, **kwargs: Any) -> PythonSandbox:
        kwargs.setdefault("config", SandboxConfig(driver=python_driver))
        kwargs.setdefault("memory", "64MiB")
        made.append(PythonSandbox(*args, **kwargs))
        return made[-1]

    yield sandbox
    for one in made:
        one.close()


@pytest.fixture
def python_driver() -> str:
    """One that starts an interpreter within seconds, or skip."""
    for info in hyperlight.drivers():
        # An emulator takes a minute or two for it.
        if info.available and info.name in HARDWARE:
            return info.name
    pytest.skip("no driver that runs an interpreter within seconds works here")
