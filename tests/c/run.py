"""Compiles and runs the tests that are written in C.

Usage: run.py [--sanitize address,undefined | thread] [--runner COMMAND]
              [--build FOLDER] [--windows] [NAME ...]

Each test_*.c here is linked with all of csrc but csrc/guest, which is not for
this system, and with the fakes; warnings are errors, and so is a circle of
files that use each other. As many run at a time as there are processors.
Prints what each printed, when it has ended, and at the end a count.

For another machine, set CC to a cross compiler and --runner to what runs its
programs:

    CC=aarch64-linux-gnu-gcc \\
        run.py --runner "qemu-aarch64 -L /usr/aarch64-linux-gnu"

Only x86-64 gets the tests that run guests. --build leaves the programs in
FOLDER and runs none.

--windows: compiled by x86_64-w64-mingw32-gcc and run by wine. Tests that need
POSIX are skipped, by the headers that they include outside of
"#ifndef _WIN32".
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from core_sources import CSRC, core_sources  # noqa: E402

FAKES = HERE.parent / "fake"

FLAGS = [
    *("-std=c11", "-D_GNU_SOURCE", "-DHL_FAULT_INJECTION", "-g", "-O1"),
    *("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow"),
    *("-Wmissing-prototypes", "-Werror", "-pthread", f"-I{CSRC}", f"-I{HERE}"),
    f"-I{FAKES.parent}",
]
WINDOWS = ["-D_WIN32_WINNT=0x0A00", "-static"]
WINDOWS_LIBRARIES = ["-lsynchronization", "-lbcrypt"]

#: Headers that Windows has not, and what else tests need that it has not.
POSIX = r"(sys/(?!types|stat)\w+|linux/\w+|unistd|dirent|sched|semaphore)"
NEEDS = {
    **dict.fromkeys(("test_kvm_ring", "test_kvm_ring_full"), "KVM"),
    **dict.fromkeys(("test_vm", "test_vm_writes"), "KVM"),
    **dict.fromkeys(
        (
            f"test_linux_{part}"
            for part in (
                *("calls", "files", "more", "names", "pipes"),
                *("space", "timers", "waits"),
            )
        ),
        "such errors",
    ),
    "test_program": "driver whose system calls leave",
    "test_context": "signal frame",
    "test_vm_ends": "signals",
    **dict.fromkeys(("test_guest_scan", "test_guest_text"), "long of 64 bits"),
}

#: Guests, which are had by these headers, are for x86-64 alone, and so are
#: copies of the SDK: its long double is the processor's.
X86 = r"vm_bed|vm/(kvm|mshv|whp)/|abi/linux/"
X86_TESTS = {"test_guest", "test_guest_scan", "test_x86"}

#: Tests that a runner cannot run, such as user-mode QEMU.
NOT_FOR_A_RUNNER = {
    "test_track": "/proc/self/maps leaves out mappings that threads change",
}

#: Tests with one thread and without signals, some of them long: there is
#: nothing for ThreadSanitizer. It gets them by name only.
ONE_THREAD = {
    *("test_elf", "test_guest", "test_guest_text", "test_hot", "test_insn"),
    *("test_kvm_ring", "test_kvm_ring_full", "test_utf8", "test_wire"),
    *(f"test_linux_{part}" for part in ("calls", "files", "names", "space")),
    *(f"test_linux_{part}" for part in ("hostile", "more", "pipes", "timers")),
    *("test_linux_waits", "test_x86"),
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


def build(
    inputs: list[Path], target: Path, options: argparse.Namespace
) -> None:
    """Compile a file, or link where the target is a program."""
    extra = ["-fno-omit-frame-pointer", f"-fsanitize={options.sanitize}"]
    command = [
        *compiler(),
        *FLAGS,
        *(extra if options.sanitize else []),
        *(WINDOWS if options.windows else []),
    ]
    command += ["-c"] if target.suffix == ".o" else []
    last = WINDOWS_LIBRARIES if options.windows else []
    subprocess.run(
        [*command, "-o", str(target), *map(str, inputs), *last], check=True
    )


def not_for_windows(test: Path) -> str | None:
    """What the test needs that Windows has not."""
    text = re.sub(
        r"#ifndef _WIN32\n.*?#endif", "", test.read_text(), flags=re.DOTALL
    )
    found = re.search(rf"#include <{POSIX}\.h>", text)
    if test.stem.startswith("test_mshv"):
        return "/dev/mshv"
    return f"<{found[1]}.h>" if found else NEEDS.get(test.stem)


def is_for_x86(file: Path) -> bool:
    """Whether it, or a header beside it, needs what only x86-64 has."""
    if file.stem in X86_TESTS:
        return True
    for name in re.findall(r'#include "(.+)"', file.read_text()):
        beside = HERE / name
        if re.match(X86, name) or (beside.exists() and is_for_x86(beside)):
            return True
    return False


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
    for path in sorted(objects.glob("csrc-*.o")):
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


def sources(x86: bool, windows: bool) -> list[Path]:
    """All of csrc that this machine can have, and the fakes."""
    # Fork handlers run in the reverse order of their constructors, which is
    # that of the linker: the core's before those of the fakes, whose locks are
    # not for a fork that the core ends.
    fakes = core_sources(x86, windows, FAKES) if x86 else []
    return [*fakes, *core_sources(x86, windows)]


def why_not(test: Path, x86: bool, options: argparse.Namespace) -> str | None:
    """Why this test cannot be run so."""
    if options.windows and (lacking := not_for_windows(test)):
        return f"Windows has no {lacking}"
    if not x86 and is_for_x86(test):
        return "only for x86-64"
    if test.stem.startswith("test_whp") and not options.windows:
        return "only for Windows"
    lone = test.stem in ONE_THREAD and not options.names
    if options.sanitize == "thread" and lone:
        return "it has one thread"
    emulated = options.runner and not options.windows
    return NOT_FOR_A_RUNNER.get(test.stem) if emulated else None


def tests(x86: bool, options: argparse.Namespace) -> list[Path]:
    """Those of these names, or all, that can be run so."""
    found = []
    for test in sorted(HERE.glob("test_*.c")):
        if options.names and test.stem not in options.names:
            continue
        if reason := why_not(test, x86, options):
            print(f"{test.stem}: skipped: {reason}")
            continue
        found.append(test)
    return found


def run(
    test: Path, core: list[Path], options: argparse.Namespace
) -> tuple[bool, str]:
    """Whether a test passed, and what to print; it may only be built."""
    objects = core[0].parent
    program = objects / f"{test.stem}.exe"
    main_object = objects / f"{test.stem}.o"
    build([test], main_object, options)
    build([main_object, *core], program, options)
    if options.build:
        shutil.copy(program, options.build / test.stem)
        return True, ""
    try:
        result = subprocess.run(
            [*options.runner, program],
            env=environment(options),
            check=False,
            timeout=600,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, status = result.stdout, result.returncode
    except subprocess.TimeoutExpired as error:
        output, status = error.stdout or b"", -1
    lines = [f"{test.stem}:", output.decode(errors="replace").rstrip("\n")]
    if status:
        lines.append(f"{test.stem}: exit status {status}")
    return status == 0, "\n".join(filter(None, lines))


def build_programs(folder: Path) -> None:
    """What test_program runs, built as others build theirs.

    What cannot be linked here is not there.
    """
    folder.mkdir()
    libraries = {"lua": ["-llua5.4", "-lm"], "sqlite": ["-lsqlite3", "-lm"]}
    for source in sorted((HERE / "programs").glob("*.c")):
        for kind in ("", "-pie"):
            command = [*compiler(), "-O1", f"-static{kind}", str(source)]
            target = folder / f"{source.stem}{kind}"
            command += [*libraries.get(source.stem, []), "-o", str(target)]
            subprocess.run(command, check=False, capture_output=True)


def environment(options: argparse.Namespace) -> dict[str, str]:
    """What the tests run in."""
    found = {
        **os.environ,
        "ASAN_OPTIONS": "handle_segv=0:handle_sigbus=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "TSAN_OPTIONS": "halt_on_error=1",
    }
    # Not under ThreadSanitizer, which would have to know the library's code,
    # and not that of this machine for another.
    native = not options.runner and options.sanitize != "thread"
    if native and (library := unicorn()):
        found["HYPERLIGHT_UNICORN"] = library
    return found


def main() -> int:
    """Build, run, count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sanitize")
    parser.add_argument("--runner", type=shlex.split, default=[])
    parser.add_argument("--build", type=Path)
    parser.add_argument("--windows", action="store_true")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    if arguments.windows:
        os.environ["CC"] = "x86_64-w64-mingw32-gcc"
        arguments.runner = ["wine"]
    x86 = asked("-dumpmachine").startswith("x86_64")
    passed = failed = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        objects = Path(folder)

        def compile_one(source: Path) -> Path:
            name = str(source.relative_to(CSRC.parent)).replace("/", "-")
            build([source], objects / f"{name}.o", arguments)
            return objects / f"{name}.o"

        core = list(pool.map(compile_one, sources(x86, arguments.windows)))
        if found := circle(objects):
            print(f"a circle: {' -> '.join(found)}")
            failed += 1
        wanted = tests(x86, arguments)
        if HERE / "test_program.c" in wanted:
            build_programs(objects / "programs")
        for fine, text in pool.map(lambda t: run(t, core, arguments), wanted):
            passed += fine
            failed += not fine
            if text:
                print(text, flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
