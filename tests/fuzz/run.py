"""Runs the fuzzers: one part each, for some seconds each, from one seed.

Usage: run.py [--seconds S] [--seed N] [part ...]
       run.py --replay WHAT part

Parts: elf, wire, linux (C, built here with AddressSanitizer and UBSan), code,
managers, threads, interleave (Python, on whatever hyperlight is installed).
Each prints what it counted; the last line is "N passed, N failed".
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
BED = HERE.parent / "c"
sys.path.insert(0, str(HERE.parent))

from core_sources import CSRC, core_sources  # noqa: E402

C_PARTS = ("elf", "wire", "linux")
PYTHON_PARTS = ("code", "managers", "threads", "interleave")

SANITIZERS = "address,undefined"
FLAGS = (
    *("-std=c11", "-D_GNU_SOURCE", "-DHL_FAULT_INJECTION", "-g", "-O1"),
    *("-Wall", "-Wextra", "-Wshadow", "-Werror", "-pthread"),
    *("-fno-omit-frame-pointer", f"-fsanitize={SANITIZERS}"),
    *("-fno-sanitize-recover=all", f"-I{CSRC}", f"-I{HERE}", f"-I{BED}"),
)

#: A part that has not ended this long after its time is up hangs.
GRACE = 120


def build(part: str, folder: Path) -> Path:
    """The program of a C part."""
    program = folder / f"fuzz_{part}"
    compiler = os.environ.get("CC", "cc")
    core = folder / "core.a"
    if not core.exists():
        jobs, objects = [], []
        for source in core_sources():
            name = "-".join(source.relative_to(CSRC).parts)
            objects.append(str(folder / f"{name}.o"))
            jobs.append([compiler, *FLAGS, "-c", str(source), "-o"])
        run_all([[*job, out] for job, out in zip(jobs, objects, strict=True)])
        subprocess.run(["ar", "crs", str(core), *objects], check=True)
    source = HERE / f"fuzz_{part}.c"
    subprocess.run(
        [compiler, *FLAGS, str(source), str(core), "-o", str(program)],
        check=True,
    )
    return program


def run_all(commands: Sequence[Sequence[str]]) -> None:
    """Run commands, as many at a time as there are processors."""
    running: list[subprocess.Popen[bytes]] = []
    for command in commands:
        if len(running) >= (os.cpu_count() or 1):
            check(running.pop(0))
        running.append(subprocess.Popen(command))
    for process in running:
        check(process)


def check(process: subprocess.Popen[bytes]) -> None:
    """Wait for one of them, which must succeed."""
    if process.wait() != 0:
        raise subprocess.CalledProcessError(process.returncode, process.args)


def corpus() -> list[str]:
    """The guests that ship, wherever they were built."""
    try:
        from hyperlight.guest import shipped

        return [str(shipped("simple"))]
    except (ImportError, FileNotFoundError):
        print("elf: no built guest here, small files only")
        return []


def command_of(
    part: str, folder: Path, arguments: argparse.Namespace
) -> list[str]:
    """What to run for a part."""
    options = ["--seed", str(arguments.seed), "--seconds"]
    options.append(str(arguments.seconds))
    if part in PYTHON_PARTS:
        command = [sys.executable, str(HERE / f"fuzz_{part}.py")]
        if arguments.replay:
            return [*command, "--replay", arguments.replay]
        return [*command, *options, "--save", str(arguments.save)]
    program = [str(build(part, folder))]
    if arguments.replay:
        return [*program, "--replay", arguments.replay]
    save = arguments.save / f"{part}-{arguments.seed}.input"
    files = corpus() if part == "elf" else []
    return [*program, *options, "--save", str(save), *files]


def main() -> int:
    """Run the parts, count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5, help="a part")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--save",
        type=Path,
        default=Path(tempfile.gettempdir()) / "hyperlight-fuzz",
        help="where inputs that failed go",
    )
    parser.add_argument("--replay", help="one input of one part")
    parser.add_argument("parts", nargs="*", metavar="part")
    arguments = parser.parse_args()
    every = (*C_PARTS, *PYTHON_PARTS)
    for part in arguments.parts:
        if part not in every:
            parser.error(f"part {part!r}: valid are {', '.join(every)}")
    arguments.save.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "ASAN_OPTIONS": "handle_segv=1:allocator_may_return_null=1"
        ":detect_leaks=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    failed = []
    passed = 0
    with tempfile.TemporaryDirectory() as folder:
        for part in arguments.parts or every:
            print(f"{part}:", flush=True)
            begun = time.monotonic()
            try:
                command = command_of(part, Path(folder), arguments)
                limit = None
                if not arguments.replay:
                    limit = arguments.seconds + GRACE
                code = subprocess.run(
                    command, env=environment, check=False, timeout=limit
                ).returncode
            except subprocess.TimeoutExpired:
                code = -1
                print(f"{part}: has not ended in time")
            except subprocess.CalledProcessError as error:
                code = error.returncode
            print(f"{part}: {time.monotonic() - begun:.1f} s", flush=True)
            if code:
                failed.append(part)
                replay(part, code, arguments)
            else:
                passed += 1
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


def replay(part: str, code: int, arguments: argparse.Namespace) -> None:
    """Say what to type."""
    print(f"{part}: exit status {code}; the whole run again:")
    print(
        f"  python {os.path.relpath(__file__)} --seed {arguments.seed} "
        f"--seconds {arguments.seconds:g} {part}"
    )
    save = arguments.save / f"{part}-{arguments.seed}.input"
    if part in C_PARTS and save.exists():
        print("or the one input:")
        print(f"  python {os.path.relpath(__file__)} --replay {save} {part}")


if __name__ == "__main__":
    sys.exit(main())
