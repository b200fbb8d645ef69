"""Building a guest with the system's compiler, and finding what ships."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from hyperlight.errors import HyperlightError
from hyperlight.guest.cc import command as command_of
from hyperlight.guest.cc import compiler

__all__ = ["GuestBuildError", "build", "sdk_path", "shipped"]


class GuestBuildError(HyperlightError):
    """The guest was not built.

    Attributes:
        command (tuple[str, ...]): What was run.
        output (str): What it printed.
    """

    def __init__(self, command: Sequence[str], output: str) -> None:
        super().__init__(tuple(command), output)
        self.command: tuple[str, ...] = tuple(command)
        self.output = output

    def __str__(self) -> str:
        output = self.output.strip() or "no reason was given"
        return f"{output}\nwhile running: {shlex.join(self.command)}"


def sdk_path() -> Path:
    """The folder of the SDK: headers, runtime and linker script.

    Raises:
        FileNotFoundError: This installation has none; it was made on a system
            that cannot build guests.
    """
    here = Path(__file__).parent
    # Installed with -e, the sources themselves are the SDK.
    for folder in (here / "sdk", here.parents[1] / "csrc/guest"):
        if (folder / "guest.ld").exists():
            return folder
    raise FileNotFoundError("this installation has no guest SDK")


def shipped(name: str = "simple") -> Path:
    """A guest that comes with the library.

    Raises:
        FileNotFoundError: There is no guest of that name.
    """
    folder = Path(__file__).parent / "guests"
    path = folder / name
    if path.parent == folder and path.is_file():
        return path
    names = sorted(p.name for p in folder.glob("*") if p.is_file())
    there = ", ".join(names) or "none"
    raise FileNotFoundError(
        f"guest={name!r}: neither a file nor a shipped guest: {there}"
    )


def build(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    cc: str | None = None,
    libraries: Sequence[str] = (),
    flags: Sequence[str] = (),
) -> Path:
    """Compile and link a guest, and return the path of the program.

    Args:
        sources: One C or assembler file, or several.
        output: The program to write.
        cc: The compiler, optionally with arguments; None for ``$CC`` or
            ``cc``.
        libraries: Static libraries: paths, or names as for the linker's -l.
        flags: Further arguments of the compiler: ``("-I", "include")``,
            ``("-DNDEBUG",)``.

    Raises:
        GuestBuildError: The compiler or the linker refused, or could not be
            run. An existing output file may be gone.
        FileNotFoundError: This installation has no SDK.
        ValueError: There is no source.
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    files = list(sources)
    if not files:
        raise ValueError("a guest needs at least one source")
    sdk = sdk_path()
    try:
        command = command_of(
            sdk,
            files,
            output,
            cc=cc,
            libraries=list(map(_library, libraries)),
            flags=flags,
        )
        result = subprocess.run(  # noqa: S603
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise GuestBuildError(compiler(cc), str(error)) from None
    if result.returncode != 0:
        raise GuestBuildError(command, result.stdout)
    return Path(output)


def _library(library: str) -> str:
    """A path as it is, a name as the linker's -l has it."""
    if os.sep in library or library.endswith((".a", ".o")):
        return library
    return f"-l{library}"
