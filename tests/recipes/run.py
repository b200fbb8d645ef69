"""Follows CONTRIBUTING.md's recipes in a copy of the sources.

A tracker, a driver with a tracker of its own and a guest ABI are added exactly
as it says.
Then each is listed, chosen by "auto", shown by doctor, documented, and run by
the tests that run for every one of its kind. The last line is pytest's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

NOT_COPIED = shutil.ignore_patterns(
    ".*", "*.so", "_core.c", "build", "dist", "_build", "*.egg-info"
)

#: What is added: file, in front of what, what.
LINES = (
    ("csrc/track/track.h", "hl_track_uffd, hl", "hl_track_dummy, "),
    ("csrc/track/track.c", "    &hl_track_uffd,", "    &hl_track_dummy,\n"),
    ("csrc/vm/driver.h", "hl_driver_kvm, hl", "hl_driver_dummy, "),
    ("csrc/vm/driver.c", "    &hl_driver_kvm,", "    &hl_driver_dummy,\n"),
    ("csrc/abi/abi.h", "hl_abi_native, hl", "hl_abi_dummy, "),
    ("csrc/abi/abi.c", "    &hl_abi_native,", "    &hl_abi_dummy,\n"),
    ("hyperlight/_absent.py", '"native",)', '"dummy", '),
    (
        "docs/reference/guest-abi.md",
        "| `native` | static",
        "| `dummy` | any | as `native` |\n",
    ),
    (
        "hyperlight/_absent.py",
        '    ("uffd", None,',
        '    ("dummy", None, False, True, True, True),\n',
    ),
    (
        "hyperlight/_absent.py",
        '    ("kvm-ring", "kvm",',
        '    ("dummy-own", "dummy", False, False, False, False),\n',
    ),
    (
        "hyperlight/_absent.py",
        '    ("kvm", "/dev/kvm",',
        '    ("dummy", None, True, False),\n',
    ),
    (
        "docs/reference/trackers.md",
        "| `uffd` | userfaultfd",
        "| `dummy` | `mprotect` | any Linux | `EFAULT` | as `sigsegv` |\n",
    ),
    (
        "docs/reference/trackers.md",
        "| `uffd` | yes",
        "| `dummy` | yes | yes | no | no | unseen |\n",
    ),
    (
        "docs/reference/drivers.md",
        "| `kvm` | `/dev/kvm`",
        "| `dummy` | the Unicorn library | nothing | software |\n",
    ),
    (
        "docs/reference/drivers.md",
        "| `kvm-ring` |",
        "| `dummy-own` | `dummy` | nothing | a copy of everything |\n",
    ),
)

CHECK = """
import hyperlight
from hyperlight import Sandbox, SandboxConfig, SharedMemory, SnapshotManager
from hyperlight import doctor

infos = {(t.name, t.driver): t for t in hyperlight.trackers()}
assert infos["dummy", None].available, infos
assert infos["dummy-own", "dummy"].available, infos
assert hyperlight.drivers()[0] == hyperlight.DriverInfo("dummy", True, "")
with SharedMemory("1MiB") as memory, SnapshotManager(memory) as manager:
    assert manager.tracker == "dummy"
    manager.take()
    memory.write(5000, b"x")
    assert set(manager.dirty()) == {1}
for name in ("auto", "dummy-own", "full"):
    with Sandbox("simple", config=SandboxConfig(tracker=name)) as sandbox:
        assert sandbox.driver == "dummy"
        assert sandbox.tracker == ("dummy-own" if name == "auto" else name)
        assert sandbox._machine.core.abi == "dummy"
        assert sandbox.call("Echo", "text") == "text"
try:
    SandboxConfig(tracker="dummy", driver="dummy")
    Sandbox("simple", config=SandboxConfig(tracker="dummy", driver="dummy"))
except hyperlight.TrackerUnavailable as error:
    assert error.usable == ("dummy-own", "full"), error.usable
else:
    raise AssertionError("it cannot see those writes")
shown = doctor.examine()
assert shown["host"]["guest ABIs"] == "dummy, native"
assert shown["drivers"][0]["name"] == shown["trackers"][0]["name"] == "dummy"
"""

TESTS = (
    *("guarantees/test_guarantee_1_exact.py", "test_docs.py"),
    "guarantees/test_guarantee_2_no_write_lost.py",
    *("sandbox/test_calls.py", "sandbox/test_state.py"),
    *("sandbox/test_lifecycle.py", "sandbox/test_hostfuncs.py"),
    "sandbox/test_abis.py",
)


def add(root: Path) -> None:
    """The recipes' lines and files."""
    for name, before, line in LINES:
        path = root / name
        text = path.read_text()
        if text.count(before) != 1:
            raise SystemExit(f"{name}: not once: {before!r}")
        path.write_text(text.replace(before, line + before))
    shutil.copy(HERE / "dummy_tracker.c", root / "csrc/track/dummy.c")
    shutil.copy(HERE / "dummy_driver.c", root / "csrc/vm/dummy.c")
    shutil.copy(HERE / "dummy_abi.c", root / "csrc/abi/dummy.c")


def main() -> int:
    """Copy, add, build, look, test."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "hyperlight"
        shutil.copytree(ROOT, root, ignore=NOT_COPIED)
        add(root)
        environment = {
            **os.environ,
            "CFLAGS": "-O0",
            "HYPERLIGHT_WERROR": "1",
            "PYTHONPATH": str(root),
        }
        for command in (
            [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
            [sys.executable, "-c", CHECK],
            [
                *(sys.executable, "-m", "pytest", "-n", "2", "-q"),
                *("-p", "no:cacheprovider", "-k", "dummy or row"),
                *(f"tests/{name}" for name in TESTS),
            ],
        ):
            done = subprocess.run(
                command, cwd=root, env=environment, check=False
            )
            if done.returncode:
                return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
