"""Runs the C tests and the suite on Windows, which Wine is.

Usage: run.py FOLDER [--smoke] [PYTEST ARGUMENTS]

Builds into FOLDER, see build.py, and runs there what needs no guest, and then
what runs guests on driver whp, over a fake of its library (fake/whp); --smoke:
only some of it. Where Wine or the compiler are missing, says so and ends well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent
sys.path.insert(0, str(HERE))

sys.path.insert(0, str(TESTS))

import build  # noqa: E402
from fake import whp  # noqa: E402

#: The suite's host part; each skips what needs more than Windows has.
HOST = (
    "host",
    "guarantees/test_guarantee_1_exact.py",
    "guarantees/test_guarantee_2_no_write_lost.py",
    "guarantees/test_guarantee_4_invisible.py",
    "guarantees/test_guarantee_5_refusals.py",
    "test_cli.py",
    "test_text.py",
)
#: The suite's part with guests, as far as it runs on that driver, but for what
#: looks at the limits and tables of POSIX.
GUESTS = (
    *("-k", "whp", "sandbox"),
    "--ignore=sandbox/test_many_sandboxes.py",
    "--ignore=sandbox/test_used_again.py",
    "guarantees/test_guarantee_6_all_that_is_read.py",
    "guarantees/test_guarantee_6_nothing_left.py",
    "guarantees/test_guarantee_7_hostile_guest.py",
    "guarantees/test_guarantee_7_hostile_messages.py",
)
SMOKE = (
    *("host/test_windows.py", "host/test_manager.py", "host/test_snapshot.py"),
)
SMOKE_C = (
    *("test_choose", "test_snapshot", "test_hot"),
    *("test_whp", "test_whp_dirty"),
)

#: For everything: Wine under a busy machine is slow, and nothing may hang.
PATIENCE = 3600


def missing() -> str | None:
    """What keeps this from running here."""
    for tool in ("wine", build.CC, "x86_64-w64-mingw32-dlltool"):
        if shutil.which(tool) is None:
            return (
                f"there is no {tool} (apt: wine64 wine gcc-mingw-w64-x86-64)"
            )
    if sysconfig.get_python_version() != build.VERSION:
        return f"this is not CPython {build.VERSION}, whose headers it takes"
    return None


def wine(environment: dict[str, str], *command: str, cwd: Path) -> int:
    """Run it there, and pass on what it prints: Python wants pipes."""
    with subprocess.Popen(
        ["wine", *command],
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.buffer.write(line.replace(b"\r\n", b"\n"))
            sys.stdout.flush()
        return process.wait(PATIENCE)


def pytest(environment: dict[str, str], python: Path, what: list[str]) -> int:
    """The suite, with the path that Wine knows these files by."""
    paths = f"Z:{TESTS} Z:{TESTS / 'host'}"
    return wine(
        environment,
        *(str(python), "-B", "-m", "pytest", "-c", "wine/pytest.ini"),
        *("--rootdir", ".", "--confcutdir", ".", "-o", f"pythonpath={paths}"),
        *what,
        cwd=TESTS,
    )


def ratios(environment: dict[str, str], python: Path) -> int:
    """What its trackers gain there; for their life and for readers."""
    return wine(
        environment,
        *(str(python), "-B", "elsewhere.py", "--host"),
        *("--cells", "host_memory/restore_16MiB_*"),
        cwd=TESTS.parent / "bench",
    )


def counts(environment: dict[str, str], python: Path) -> int:
    """What driver whp asks of its fake, in some cells of the grid."""
    return wine(
        environment,
        *(str(python), "-B", "elsewhere.py", "--fake", "whp"),
        *("--cells", "guest_functions/*"),
        cwd=TESTS.parent / "bench",
    )


def windows_path(path: Path) -> str:
    """As Wine knows it."""
    return f"Z:{path}".replace("/", "\\")


def main() -> int:
    """Build, run the C tests, run the suite; the worst status."""
    folder, *rest = sys.argv[1:]
    smoke = "--smoke" in rest
    rest = [word for word in rest if word != "--smoke"]
    if reason := missing():
        print(f"Windows is not tested: {reason}")
        return 0
    root = Path(folder).resolve()
    python = build.build(root)
    environment = {
        **os.environ,
        "WINEPREFIX": str(root / "prefix"),
        "WINEDEBUG": "-all",
        whp.UNICORN: windows_path(root / "site/unicorn/lib/unicorn.dll"),
    }
    with_whp = environment
    if not smoke:
        library = windows_path(whp.build(root, build.CC))
        with_whp = {**environment, whp.LIBRARY: library}
    version = ("/v", "Version", "/d", "win10", "/f")
    key = r"HKCU\Software\Wine"
    wine(environment, "reg", "add", key, *version, cwd=root)
    try:
        native = subprocess.run(
            [
                *(sys.executable, str(TESTS / "c" / "run.py"), "--windows"),
                *(SMOKE_C if smoke else ()),
            ],
            env=environment,
            check=False,
        )
        suite = rest or list(SMOKE if smoke else HOST)
        status = pytest(with_whp if rest else environment, python, suite)
        if not smoke and not rest:
            status = pytest(with_whp, python, [*GUESTS]) or status
            status |= ratios(environment, python)
            status |= counts(with_whp, python)
    finally:
        # Of this prefix alone.
        subprocess.run(["wineserver", "-k"], env=environment, check=False)
    return native.returncode or status


if __name__ == "__main__":
    sys.exit(main())
