"""The C compiler's command line for a guest.

On its own, without imports from the package: setup.py loads this file by its
path, when there is no package yet.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

#: For a fixed address and without a system's headers or libraries.
FLAGS = (
    *("-std=gnu11", "-O2", "-g", "-ffreestanding", "-fno-strict-aliasing"),
    *("-fno-pic", "-fno-pie", "-fcf-protection=none"),
    *("-fno-asynchronous-unwind-tables", "-fstack-protector-strong"),
    *("-ffunction-sections", "-fdata-sections", "-Wall", "-nostdinc"),
)
LINK_FLAGS = (
    *("-static", "-no-pie", "-nostdlib", "-Wl,--gc-sections"),
    *("-Wl,-z,max-page-size=4096", "-Wl,-z,noexecstack"),
    "-Wl,--build-id=none",
)

#: Headers of libraries, where the SDK has none of that name; on Debian those
#: that differ by machine have a folder of their own.
_LIBRARY_HEADERS = (
    *("-idirafter", "/usr/include"),
    *("-idirafter", "/usr/include/x86_64-linux-gnu"),
)


def compiler(cc: str | None = None) -> list[str]:
    """The words of `cc`, of ``$CC`` or of ``cc``."""
    return shlex.split(cc or os.environ.get("CC") or "cc")


def own_headers(words: Sequence[str]) -> Path:
    """Where the compiler keeps stdint.h, stdarg.h and their like.

    Raises:
        OSError: The compiler cannot be run.
    """
    result = subprocess.run(  # noqa: S603
        [*words, "-print-file-name=include"],
        capture_output=True,
        text=True,
        check=False,
    )
    return Path(result.stdout.strip())


def command(
    sdk: Path,
    sources: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    cc: str | None = None,
    libraries: Sequence[str] = (),
    flags: Sequence[str] = (),
) -> list[str]:
    """What to run to build a guest from `sources`.

    Raises:
        OSError: The compiler cannot be run.
    """
    words = compiler(cc)
    folders = [sdk, sdk / "include", own_headers(words)]
    runtime = sorted([*sdk.glob("*.c"), *sdk.glob("*.S")])
    return [
        *words,
        *FLAGS,
        *(word for folder in folders for word in ("-isystem", str(folder))),
        *(_LIBRARY_HEADERS if libraries else ()),
        *map(str, flags),
        *LINK_FLAGS,
        "-T",
        str(sdk / "guest.ld"),
        *(os.fspath(source) for source in sources),
        *map(str, runtime),
        # The runtime calls no library, so that they can come last; what the
        # compiler itself calls, such as divisions of 128 bits, comes behind.
        *libraries,
        "-lgcc",
        "-o",
        os.fspath(output),
    ]
