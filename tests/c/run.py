"""Compiles and runs the tests that are written in C.

Usage: run.py [--sanitize address,undefined | thread] [--runner COMMAND]
              [--build FOLDER] [NAME ...]

Each test_*.c here is linked with all of csrc but csrc/guest, which is not for
this system, and with the fakes; warnings are errors, and so is a circle of
files that use each other. Prints what the programs print and ends with a
count.

For another machine, set CC to a cross compiler and --runner to what runs its
programs:

    CC=aarch64-linux-gnu-gcc \\
        run.py --runner "qemu-aarch64 -L /usr/aarch64-linux-gnu"

Only x86-64 gets the tests that run guests. --build leaves the programs in
FOLDER and runs none.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
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


#: As in setup.py: what only x86-64 has.
HYPERVISORS = {"kvm", "mshv", "start.c"}

#: Tests that have code of x86-64 in them: guests, or the SDK's copies.
X86_TESTS = {
    *("test_batch", "test_guest", "test_kvm_ring", "test_kvm_ring_full"),
    *("test_machine", "test_vm", "test_vm_ends", "test_vm_writes", "test_x86"),
    *("test_mshv_fake", "test_mshv_fake_dirty", "test_mshv_fake_exits"),
    "test_mshv_kernel",
}

#: Tests that a runner cannot run, such as user-mode QEMU.
NOT_FOR_A_RUNNER = {
    "test_track": "/proc/self/maps leaves out mappings that threads change",
}


def compiler() -> list[str]:
    """The words of ``$CC``."""
    return shlex.split(os.environ.get("CC", "cc"))


def asked(*question: str) -> str:
    """What the compiler answers to an option of the kind -dumpmachine."""
    answer = subprocess.run(
        [*compiler(), *question], check=True, capture_output=True, text=True
    )
    return answer.stdout.strip()


def build(source: Path, target: Path, sanitize: str | None) -> None:
    """Compile one file, or link where the target is a program."""
    extra = ["-fno-omit-frame-pointer", f"-fsanitize={sanitize}"]
    command = [
        *compiler(),
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
    nm = shutil.which(asked("-print-prog-name=nm"))
    if nm is None:
        print("circles: not looked for: there is no nm")
        return []
    defined: dict[str, str] = {}
    used: dict[str, set[str]] = {}
    for path in sorted(objects.glob("*.o")):
        listed = subprocess.run(
            [nm, "-g", path], check=True, capture_output=True, text=True
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


def sources(x86: bool) -> list[Path]:
    """All of csrc that this machine can have, as setup.py chooses it."""
    guest = CSRC / "guest"
    found = [
        path
        for path in CSRC.rglob("*.c")
        if guest not in path.parents
        and (x86 or not HYPERVISORS & {path.name, path.parent.name})
    ]
    return sorted([*found, *(FAKES.rglob("*.c") if x86 else ())])


def tests(x86: bool, direct: bool, names: list[str]) -> list[Path]:
    """Those of these names, or all, that can be run so."""
    found = []
    for test in sorted(HERE.glob("test_*.c")):
        if names and test.stem not in names:
            continue
        if test.stem in X86_TESTS and not x86:
            print(f"{test.stem}: skipped: only for x86-64")
            continue
        if test.stem in NOT_FOR_A_RUNNER and not direct:
            print(f"{test.stem}: skipped: {NOT_FOR_A_RUNNER[test.stem]}")
            continue
        found.append(test)
    return found


def main() -> int:
    """Build, run, count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sanitize")
    parser.add_argument("--runner", type=shlex.split, default=[])
    parser.add_argument("--build", type=Path)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    environment = {
        **os.environ,
        "ASAN_OPTIONS": "handle_segv=0:handle_sigbus=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "TSAN_OPTIONS": "halt_on_error=1",
    }
    x86 = asked("-dumpmachine").startswith("x86_64")
    # Not under ThreadSanitizer, which would have to know the library's code,
    # and not that of this machine for another.
    native = not arguments.runner and arguments.sanitize != "thread"
    if native and (library := unicorn()):
        environment["HYPERLIGHT_UNICORN"] = library
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        objects = Path(folder)

        def compile_one(source: Path) -> None:
            name = str(source.relative_to(source.parents[2])).replace("/", "-")
            build(source, objects / f"{name}.o", arguments.sanitize)

        list(pool.map(compile_one, sources(x86)))
        if found := circle(objects):
            print(f"a circle: {' -> '.join(found)}")
            failed += 1
        for test in tests(x86, not arguments.runner, arguments.names):
            program, main_object = objects / test.stem, objects / "main.o"
            build(test, main_object, arguments.sanitize)
            build(main_object, program, arguments.sanitize)
            if arguments.build:
                shutil.copy(program, arguments.build)
                passed += 1
                continue
            print(f"{test.stem}:", flush=True)
            result = subprocess.run(
                [*arguments.runner, program],
                env=environment,
                check=False,
                timeout=600,
            )
            passed += result.returncode == 0
            failed += result.returncode != 0
            if result.returncode:
                print(f"{test.stem}: exit status {result.returncode}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
