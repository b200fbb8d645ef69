"""Guests that tests build from text, and what they need of this system."""

from __future__ import annotations

import functools
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hyperlight import Sandbox, SandboxConfig, guest

Build = Callable[..., Path]

MARKS = [
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() != "x86_64",
        reason="guests are built on x86-64 Linux",
    ),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"),
    pytest.mark.unsanitized,  # which tests compilers and linkers
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """built(source text, library, ...): the program, once for all drivers."""

    @functools.cache
    def build(source: str, *libraries: str) -> Path:
        folder = tmp_path_factory.mktemp("built")
        (folder / "guest.c").write_text(source)
        return guest.build(
            folder / "guest.c", folder / "guest", libraries=libraries
        )

    return build


def opened(program: Path, driver: str) -> Sandbox:
    """A sandbox with room for what libraries need."""
    return Sandbox(
        program,
        config=SandboxConfig(
            driver=driver,
            call_timeout=60,
            heap_size="8MiB",
            stack_size="1MiB",
        ),
    )


def need_library(name: str, package: str) -> None:
    """Skip where the compiler does not find it: it then echoes the name."""
    asked = ["cc", f"-print-file-name=lib{name}.a"]
    found = subprocess.run(asked, capture_output=True, text=True, check=True)
    if "/" not in found.stdout:
        pytest.skip(f"no lib{name}.a to link with: {package} has it")
