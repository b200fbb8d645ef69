"""Compiles and runs the tests that are written in C.

Usage: run.py [--sanitize address,undefined | thread] [NAME ...]

Each test_*.c here is linked with all of csrc but csrc/guest, which is not for
this system, and with the fakes; warnings are errors, and so is a circle of
files that use each other. Prints what the programs print and ends with a
count.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

HERE = Path(__file__).parent
CSRC = HERE.parent.parent / "csrc"
FAKES = HERE.parent / "fake"

FLAGS = [
    *("-std=c11", "-D_GNU_SOURCE", "-DHL_FAULT_INJECTION", "-g", "-O1"),
    *("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow"),
    *("-Wmissing-prototypes", "-Werror", "-pthread", f"-I{CSRC}", f"-I{HERE}"),
    f"-I{FAKES.parent}",
]


def build(source: Path, target: Path, sanitize: str | None) -> None:
    """Compile one file, or link where the target is a program."""
    extra = ["-fno-omit-frame-pointer", f"-fsanitize={sanitize}"]
    command = [
        os.environ.get("CC", "cc"),
        *FLAGS,
        *(extra if sanitize else []),
    ]
    inputs = [source] if target.suffix == ".o" else source.parent.glob("*.o")
    command += ["-c"] if target.suffix == ".o" else []
    subprocess.run(
        [*command, "-o", str(target), *map(str, inputs)], check=True
    )


def unicorn() -> str | None:
    """The emulator's library, where its package is installed."""
    spec = importlib.util.find_spec("unicorn")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in Path(folder).glob("lib/libunicorn.so*"):
            return str(path)
    return None


def circle(objects: Path) -> list[str]:
    """Files that use each other's symbols in a circle; none: []."""
    if shutil.which("nm") is None:
        print("circles: not looked for: there is no nm")
        return []
    defined: dict[str, str] = {}
    used: dict[str, set[str]] = {}
    for path in sorted(objects.glob("*.o")):
        listed = subprocess.run(
            ["nm", "-g", path], check=True, capture_output=True, text=True
        )
        for *_, kind, symbol in map(str.split, listed.stdout.splitlines()):
            if kind == "U":
                used.setdefault(path.stem, set()).add(symbol)
            else:
                defined[symbol] = path.stem
    files = {
        file: {defined.get(symbol, file) for symbol in symbols} - {file}
        for file, symbols in used.items()
    }
    try:
        TopologicalSorter(files).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def main() -> int:
    """Build, run, count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sanitize")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    environment = {
        **os.environ,
        "ASAN_OPTIONS": "handle_segv=0:handle_sigbus=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "TSAN_OPTIONS": "halt_on_error=1",
    }
    # Not under ThreadSanitizer, which would have to know the library's code.
    if arguments.sanitize != "thread" and (library := unicorn()):
        environment["HYPERLIGHT_UNICORN"] = library
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        objects = Path(folder)

        def compile_one(source: Path) -> None:
            name = str(source.relative_to(source.parents[2])).replace("/", "-")
            build(source, objects / f"{name}.o", arguments.sanitize)

        guest = CSRC / "guest"
        sources = [p for p in CSRC.rglob("*.c") if guest not in p.parents]
        sources += FAKES.rglob("*.c")
        list(pool.map(compile_one, sorted(sources)))
        if found := circle(objects):
            print(f"a circle: {' -> '.join(found)}")
            failed += 1
        for test in sorted(HERE.glob("test_*.c")):
            if arguments.names and test.stem not in arguments.names:
                continue
            program, main_object = objects / test.stem, objects / "main.o"
            build(test, main_object, arguments.sanitize)
            build(main_object, program, arguments.sanitize)
            print(f"{test.stem}:", flush=True)
            result = subprocess.run(
                [program], env=environment, check=False, timeout=600
            )
            passed += result.returncode == 0
            failed += result.returncode != 0
            if result.returncode:
                print(f"{test.stem}: exit status {result.returncode}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
