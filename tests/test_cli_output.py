"""What the command line prints, of text from outside and where it cannot."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import HERE, run_python
from test_cli import HYPERLIGHT, run

import hyperlight
from hyperlight import DriverInfo, TrackerInfo, doctor
from hyperlight.cli import ledger

pytestmark = pytest.mark.unsanitized  # no C that others do not run

OUTSIDE = (
    "pip install 'pyhyperlight[emulator]' [red]x[/red] [/] :warning: \x1b[2J"
)


@pytest.fixture
def strange_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose every word looks like markup."""
    facts = dict.fromkeys(doctor._host_facts(), OUTSIDE)
    facts |= {"vm.max_map_count": 5, "transparent huge pages": "always"}
    monkeypatch.setattr(doctor, "_host_facts", lambda: facts)
    monkeypatch.setattr(
        doctor,
        "trackers",
        lambda: [
            TrackerInfo("uffd", False, OUTSIDE, True),
            TrackerInfo("uffd-sigbus", True, "", False),
        ],
    )
    monkeypatch.setattr(
        doctor,
        "drivers",
        lambda: [
            DriverInfo("kvm", False, OUTSIDE),
            DriverInfo("emulator", False, OUTSIDE),
        ],
    )


@pytest.mark.parametrize("columns", [40, 200])
def test_text_from_outside_is_shown_and_not_interpreted(
    strange_host: None, columns: int
) -> None:
    output = run("doctor", columns=columns).output
    assert "\x1b" not in output
    # Wrapped, where there is little room.
    shown = re.sub(r"[\s│|]+", "", output)
    wanted = OUTSIDE.replace("\x1b", r"\x1b").replace(" ", "")
    report = json.loads(run("doctor", "--json").output)
    assert shown.count(wanted) == json.dumps(report).count("[emulator]")
    advice = [x for x in output.splitlines() if x.startswith("- ")]
    assert len([x for x in advice if "pyhyperlight[emulator]" in x]) == 3


def test_text_of_the_demo_is_no_markup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = ledger._report(4096, "[bold]", 1e-3, 1e-3, 1, True, True)
    monkeypatch.setattr(ledger, "run", lambda *args: report)
    assert "tracking ([bold])" in run("demo").output


@pytest.mark.parametrize("columns", [20, 40, 71, 72, 80, 200])
def test_doctor_is_readable_at_any_width(columns: int) -> None:
    """Nothing is cut, nothing is wider than the terminal but advice."""
    output = run("doctor", columns=columns).output
    assert "…" not in output
    shown = re.sub(r"[\s│|]+", "", output)
    report = doctor.examine()
    for row in report["trackers"] + report["drivers"]:
        assert row["name"] in shown
        assert row["reason"].replace(" ", "") in shown
    for name in report["host"]:
        assert name.replace(" ", "") in shown
    lines = [x for x in output.splitlines() if not x.startswith("- ")]
    assert max(map(len, lines)) <= columns


@pytest.mark.parametrize("columns", [40, 80])
def test_demo_is_readable_at_any_width(columns: int) -> None:
    output = run("demo", "--size", "1MiB", columns=columns).output
    assert "…" not in output
    for word in ("full copy", "pages", "1 MiB", "ratio", " x"):
        assert word in output


# Output that cannot be written.


COMMANDS = [
    ["doctor"],
    ["doctor", "--json"],
    ["demo", "--size", "1MiB"],
    ["demo", "--size", "1MiB", "--json"],
    ["--help"],
    ["--version"],
    ["run", "simple"],
    ["run", "simple", "Echo", "x"],
    ["run", "simple", "EchoBytes", "x"],
]


def require(command: list[str]) -> None:
    if "run" in command and not any(
        info.available for info in hyperlight.drivers()
    ):
        pytest.skip("no driver works here")


@pytest.fixture(params=["buffered", "unbuffered"])
def buffering(request: pytest.FixtureRequest) -> dict[str, str]:
    """An environment: what is buffered still fails when it is flushed."""
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if request.param == "buffered":
        del env["PYTHONUNBUFFERED"]
    return env


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_full_disk_is_one_line_and_status_2(
    command: list[str], buffering: dict[str, str]
) -> None:
    require(command)
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*HYPERLIGHT, *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
            cwd=HERE,
            env=buffering,
        )
    assert result.stderr == (
        "hyperlight: cannot write to standard output: "
        "No space left on device\n"
    )
    assert result.returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_no_place_for_the_message_either(buffering: dict[str, str]) -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [*HYPERLIGHT, "--version"],
            stdout=full,
            stderr=full,
            check=False,
            timeout=60,
            cwd=HERE,
            env=buffering,
        )
    assert result.returncode == 2


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_reader_that_went_away_is_not_told_of(
    command: list[str], buffering: dict[str, str]
) -> None:
    require(command)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            [*HYPERLIGHT, *command],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
            cwd=HERE,
            env=buffering,
        )
    finally:
        os.close(writer)
    assert result.stderr == ""
    assert result.returncode == 141  # as after SIGPIPE; 1 means something


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_standard_output_at_all(command: list[str]) -> None:
    require(command)
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *HYPERLIGHT, *command],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
        cwd=HERE,
    )
    assert (result.stderr, result.returncode) == ("", 0)


def test_ctrl_c_is_no_wrong_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
import sys
from hyperlight import cli
from hyperlight.cli import ledger
def interrupted(*args):
    raise KeyboardInterrupt
ledger.run = interrupted
sys.argv[1:] = ["demo"]
cli.main()
"""
    result = run_python(script)
    assert result.returncode == 130
    assert result.stderr.strip() == "Interrupted."


def test_a_terminal_gets_no_control_characters(driver: str) -> None:
    """Results are data, and go into a pipe as they are."""
    pty = pytest.importorskip("pty")
    text = "a\x1b[2Jb\nc\x9b"
    command = [*HYPERLIGHT, "run", "--driver", driver, "simple", "Echo", text]
    piped = subprocess.run(
        command, capture_output=True, check=True, timeout=60, cwd=HERE
    )
    assert piped.stdout.decode() == text + "\n"
    parent, child = pty.openpty()
    try:
        subprocess.run(command, stdout=child, check=True, timeout=60, cwd=HERE)
        shown = os.read(parent, 1000).decode()
    finally:
        os.close(parent)
        os.close(child)
    assert shown == "a\\x1b[2Jb\r\nc\\x9b\r\n"


# What is wrong with /dev/kvm.


def kvm_reason(script: str, *args: str) -> str:
    """The reason that driver kvm gives in a changed world."""
    if not Path("/dev/kvm").exists():
        pytest.skip("no /dev/kvm")
    if "kvm" not in [info.name for info in hyperlight.drivers()]:
        pytest.skip("built without driver kvm")
    script += """
import hyperlight
print(hyperlight.drivers()[0].reason)
"""
    result = run_python(script, *args)
    assert result.returncode == 0, result.stderr
    if result.stdout.startswith("skip"):
        pytest.skip(result.stdout.strip())
    return result.stdout.strip()


@pytest.mark.parametrize("kind", ["device", "file"])
def test_dev_kvm_that_is_something_else(kind: str, tmp_path: Path) -> None:
    if not shutil.which("unshare"):
        pytest.skip("no unshare")
    (tmp_path / "file").touch()
    other = "/dev/null" if kind == "device" else str(tmp_path / "file")
    # In a name space of mounts of its own, as root of it.
    script = """
import os, subprocess, sys
if len(sys.argv) == 2:
    flags = "-m" if os.geteuid() == 0 else "-rm"
    again = subprocess.run(
        ["unshare", flags, sys.executable, "-c",
         sys.orig_argv[2], sys.argv[1], "in"],
        capture_output=True, text=True)
    if again.returncode:
        print("skip: no mounts of one's own:", again.stderr[-200:])
    print(again.stdout, end="")
    sys.exit(0)
if subprocess.run(["mount", "--bind", sys.argv[1], "/dev/kvm"]).returncode:
    print("skip: cannot mount"); sys.exit(0)
"""
    reason = kvm_reason(script, other)
    assert reason.startswith("/dev/kvm is not KVM")


@pytest.mark.parametrize("errno", [1, 13, 38])
@pytest.mark.parametrize("number", [0xAE00, 0xAE03])
def test_dev_kvm_behind_a_filter(errno: int, number: int) -> None:
    """KVM_GET_API_VERSION or KVM_CHECK_EXTENSION is refused by seccomp."""
    script = """
import ctypes, os, struct, sys
if not os.access("/dev/kvm", os.R_OK | os.W_OK):
    print("skip: no permission to open /dev/kvm"); sys.exit(0)
if os.uname().machine != "x86_64":
    print("skip: another machine"); sys.exit(0)
libc = ctypes.CDLL(None, use_errno=True)
code = b"".join(struct.pack("<HBBI", *line) for line in [
    (0x20, 0, 0, 0),                 # the call's number
    (0x15, 0, 3, 16),                # ioctl
    (0x20, 0, 0, 24),                # its second argument
    (0x15, 0, 1, int(sys.argv[2])),
    (0x06, 0, 0, 0x00050000 | int(sys.argv[1])),
    (0x06, 0, 0, 0x7fff0000),
])
program = ctypes.create_string_buffer(code)
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
bpf = Filter(6, ctypes.addressof(program))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(bpf), 0, 0):
    print("skip: no seccomp"); sys.exit(0)
"""
    reason = kvm_reason(script, str(errno), str(number))
    assert "refused by a filter of system calls (seccomp)" in reason
    assert "too old" not in reason


def test_dev_kvm_at_a_limit_of_descriptors() -> None:
    script = """
import os, resource, sys
import hyperlight
hyperlight.drivers()
if not os.access("/dev/kvm", os.R_OK | os.W_OK):
    print("skip: no permission to open /dev/kvm"); sys.exit(0)
least = os.dup(0); os.close(least)
resource.setrlimit(resource.RLIMIT_NOFILE, (least, least))
"""
    reason = kvm_reason(script)
    assert "/dev/kvm: Too many open files (RLIMIT_NOFILE" in reason
