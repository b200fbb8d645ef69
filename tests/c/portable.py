"""Compiles for macOS what of csrc names no operating system.

Usage: portable.py, with Zig's compiler from PyPI (ziglang)

A port is then the rest: os, track, the trackers' part of manager, and drivers.
Nothing is run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CSRC = Path(__file__).parent.parent.parent / "csrc"
TARGETS = ("aarch64-macos", "x86_64-macos")

PORTABLE = (
    *("why.c", "inject.c", "turn.c", "choose.c"),
    *("mem/*.c", "snapshot/*.c", "abi/*.c", "abi/native/*.c"),
    *("image/x86.c", "vm/slots.c"),
)
FLAGS = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Wshadow", "-Werror")


def compile_one(target: str, source: Path, folder: Path) -> str | None:
    """None, or what the compiler said."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ziglang", "cc", "-target", target),
            *FLAGS,
            *(f"-I{CSRC}", "-c", source),
            *("-o", folder / f"{target}-{source.parent.name}-{source.name}.o"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr if done.returncode else None


def main() -> int:
    """Compile, count."""
    sources = sorted(s for pattern in PORTABLE for s in CSRC.glob(pattern))
    jobs = [(target, source) for target in TARGETS for source in sources]
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda job: compile_one(*job, Path(name)), jobs))
    failed = 0
    for (target, source), text in zip(jobs, said, strict=True):
        if text is not None:
            print(f"{source.relative_to(CSRC)} for {target}:\n{text}")
            failed += 1
    print(f"{len(jobs) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
