"""The command line: tables for people, JSON for programs, clear errors."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import HERE, run_python

import hyperlight
from hyperlight import DriverInfo, TrackerInfo, doctor, trackers
from hyperlight.cli import cli, ledger
from hyperlight.registry import Driver

HYPERLIGHT = [sys.executable, "-m", "hyperlight"]


def run(*args: str, columns: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(
        cli, args, catch_exceptions=False
    )


def test_doctor_says_what_there_is() -> None:
    result = run("doctor")
    assert result.exit_code == 0
    for info in trackers():
        assert info.name in result.output
    for word in ("vm.max_map_count", "transparent huge pages", "Linux", "kvm"):
        assert word in result.output


def test_doctor_as_json() -> None:
    result = run("doctor", "--json")
    report = json.loads(result.output)
    assert report["version"] == hyperlight.__version__
    assert [row["name"] for row in report["trackers"]] == [
        info.name for info in trackers()
    ]
    assert report["host"]["page size"] == hyperlight.SharedMemory(1).page_size
    assert isinstance(report["host"]["vm.max_map_count"], int)


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("this kernel is too old: ...", "Upgrade the kernel"),
        ("userfaultfd: forbidden here, ...", "seccomp profile"),
    ],
)
def test_doctor_says_what_to_change(
    monkeypatch: pytest.MonkeyPatch, reason: str, says: str
) -> None:
    found = [
        hyperlight.TrackerInfo("uffd", False, reason, True),
        hyperlight.TrackerInfo("sigsegv", True, "", False),
    ]
    monkeypatch.setattr(doctor, "trackers", lambda: found)
    result = run("doctor")
    assert says in result.output
    host = {
        **doctor._host_facts(),
        "transparent huge pages": "never",
        "vm.overcommit_memory": 2,
        "vm.max_map_count": 65530,
    }
    lines = doctor._advice(found, host)
    assert len(lines) == 5
    assert "unblocked" in lines[1]
    assert all(
        line.endswith((".", "enabled")) or "sysctl" in line for line in lines
    )
    assert (
        doctor._advice(
            [hyperlight.TrackerInfo("uffd", True, "", True)],
            {
                **host,
                "transparent huge pages": "always",
                "vm.overcommit_memory": 0,
            },
        )
        == []
    )


def test_demo_puts_it_back(tracker: str) -> None:
    result = run("demo", "--size", "16MiB", "--tracker", tracker, "--json")
    assert result.exit_code == 0
    report = json.loads(result.output)
    assert report["identical"] is True
    assert report["size"] == 16 << 20
    assert report["tracker"] == tracker
    full, tracked = report["restores"]
    assert full["bytes"] == 16 << 20
    if tracker == "full":
        assert tracked["pages"] == full["pages"]
    elif tracker == "softdirty":  # a huge page has one soft-dirty bit
        assert 0 < tracked["pages"] <= full["pages"]
    else:
        assert 0 < tracked["pages"] <= 2 * report["transfers"]
    assert "every byte is as it was" in report["sentence"]


def test_demo_for_people() -> None:
    result = run("demo", "--size", "2097152")
    assert result.exit_code == 0
    assert "full copy" in result.output
    assert "2 MiB" in result.output
    assert "50 transfers" in result.output


def test_demo_notices_wrong_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that cannot fail is none."""
    count = iter(range(10))
    monkeypatch.setattr(ledger, "_checksum", lambda *_: next(count))
    result = run("demo", "--size", "1MiB", "--json")
    assert result.exit_code == 1
    assert json.loads(result.output)["identical"] is False


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["demo", "--size", "lots"], "'lots' is not a size"),
        (["demo", "--size", "0"], "is not positive"),
        (["demo", "--size", "900TiB"], "choose a smaller --size"),
        (["demo", "--size", "1MiB", "--tracker", "magic"], "valid are"),
        (["demo", "--colour"], "No such option"),
        (["frobnicate"], "No such command"),
    ],
)
def test_errors_are_one_line(args: list[str], says: str) -> None:
    """And are not mistaken for wrong bytes, which are status 1."""
    result = run(*args)
    assert result.exit_code == 2
    assert says in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_will_do(encoding: str) -> None:
    result = subprocess.run(
        [*HYPERLIGHT, "demo", "--size", "1MiB"],
        capture_output=True,
        check=False,
        timeout=60,
        cwd=HERE,
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "200"},
    )
    assert result.returncode == 0, result.stderr
    unit = "µs" if encoding == "utf-8" else "us"
    assert f" {unit} instead of " in result.stdout.decode(encoding)
    assert result.stderr == b""


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(1.0, "1,000,000 µs"), (4e-4, "2.5 times less"), (1e-2, "is not less")],
)
def test_the_sentence_says_what_was_measured(
    seconds: float, says: str
) -> None:
    report = ledger._report(4096, "uffd", 1e-3, seconds, 1, True, True)
    assert says in report["sentence"]
    assert "putting back 1 page took" in report["sentence"]
    assert ("times less" in report["sentence"]) is (seconds < 1e-3)


def test_a_container_has_what_its_limit_says(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    group = tmp_path / "sys/fs/cgroup/a/b"
    group.mkdir(parents=True)
    assert ledger._available(tmp_path) is None

    (tmp_path / "proc/meminfo").write_text(
        "MemTotal:  9000 kB\nMemAvailable:    8000 kB\n"
    )
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/x\n0::/a/b\n")
    (group / "memory.max").write_text("max\n")
    assert ledger._available(tmp_path) == 8000 << 10
    (group.parent / "memory.max").write_text("1000000\n")
    assert ledger._available(tmp_path) == 1000000


def test_help_and_version() -> None:
    assert "doctor" in run("--help").output
    assert hyperlight.__version__ in run("--version").output


def test_as_a_module() -> None:
    script = "import sys; sys.argv[1:] = ['doctor', '--json']; import runpy; "
    script += "runpy.run_module('hyperlight', run_name='__main__')"
    result = run_python(script)
    assert result.returncode == 0, result.stderr
    json.loads(result.stdout)


@pytest.mark.parametrize(
    ("missing", "extra", "args"),
    [
        ("click", "cli", []),
        ("rich", "cli", []),
        ("pyperf", "bench", ["bench"]),
        ("matplotlib", "bench", ["bench", "--list"]),
    ],
)
def test_says_what_to_install(
    missing: str, extra: str, args: list[str]
) -> None:
    if extra == "bench":
        for name in ("jinja2", "matplotlib", "numpy", "pyperf"):
            pytest.importorskip(name)
    script = f"""
import sys
sys.argv[1:] = {args!r}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {missing!r}:
            raise ModuleNotFoundError("no", name={missing!r})
sys.meta_path.insert(0, Refuse())
from hyperlight.__main__ import main
main()
"""
    result = run_python(script)
    assert result.returncode == 1
    assert result.stderr == (
        f"hyperlight: this needs {missing}: "
        f"pip install 'pyhyperlight[{extra}]'\n"
    )
    assert sys.version_info >= (3, 10)


def test_run_calls_a_guest(driver: str, tmp_path: Path) -> None:
    def call(*args: str) -> Result:
        return run("run", "--driver", driver, "simple", *args)

    assert "Echo(str) -> str\n" in call().output
    assert call("Echo", "hello").output == "hello\n"
    assert call("EchoInt32", "-0x10").output == "-16\n"
    assert call("EchoDouble", "2.5").output == "2.5\n"
    assert call("EchoBool", "true").output == "True\n"
    assert call("Nothing").output == ""
    file = tmp_path / "data"
    file.write_bytes(b"\x00\xffdata")
    assert call("EchoBytes", f"@{file}").stdout_bytes == b"\x00\xffdata"


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (["simple", "Fault", "undefined"], 1, "invalid opcode"),
        (["simple", "Fail", "1000", "no"], 1, "no (code 1000)"),
        (["--timeout", "0.05", "simple", "Spin"], 1, "took longer"),
        (["simple", "NoSuch"], 2, "no such function"),
        (["simple", "EchoInt32", "many"], 2, "argument 1 must be int32"),
        (["simple", "EchoBool", "2"], 2, "neither true nor false"),
        (["simple", "EchoInt32", "1", "2"], 2, "takes 1 argument"),
        (["simple", "EchoBytes", "@/no/such/file"], 2, "No such file"),
        (["no-such-guest"], 2, "nor a shipped guest"),
        (["--driver", "vmware", "simple"], 2, "valid are 'auto'"),
        (["--heap", "2TiB", "simple"], 2, "page tables"),
    ],
)
def test_run_says_what_went_wrong(
    driver: str, args: list[str], status: int, says: str
) -> None:
    if "--driver" not in args:
        args = ["--driver", driver, *args]
    result = run("run", *args)
    assert result.exit_code == status
    assert says in result.output
    assert "Traceback" not in result.output


def test_doctor_advises_on_drivers() -> None:
    def info(name: str, reason: str) -> DriverInfo:
        return DriverInfo(name, not reason, reason)

    no_kvm, emulator = info("kvm", "no /dev/kvm"), info("emulator", "")
    advise = doctor._driver_advice
    assert advise([info("kvm", ""), emulator]) == []
    assert advise([no_kvm, emulator]) == [
        "Run sandboxes on hardware: no /dev/kvm."
    ]
    lines = advise([no_kvm, info("emulator", "pip install it")])
    assert lines[1] == "Run them in software meanwhile: pip install it."
    assert advise([no_kvm])[1] == "Sandboxes cannot run here."
    # Where the core was built without kvm.
    assert advise([emulator]) == advise([info("emulator", "no")]) == []


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("userfaultfd: forbidden here, by a seccomp filter", "profile: user"),
        ("this kernel is too old: Linux 6.7 is needed", "Upgrade the kernel"),
        ("UFFDIO_API: Invalid argument", "cannot be used: UFFDIO_API"),
        ("/proc/self/pagemap: Permission denied", "cannot be used: /proc"),
    ],
)
def test_doctor_blames_what_was_found(reason: str, says: str) -> None:
    line = doctor._advice_on("uffd", reason)
    assert says in line
    assert ("seccomp" in line) is ("seccomp" in reason)


def test_doctor_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    monkeypatch.setattr(doctor, "_read", lambda path: None)
    line = doctor._advice_on(
        "uffd", "/proc/self/pagemap: No such file or directory"
    )
    assert line.startswith("Mount /proc")
    assert doctor._host_facts()["seccomp"] == "unknown"
    monkeypatch.undo()
    monkeypatch.setattr(doctor, "_read", lambda path: "odd")
    assert doctor._host_facts()["vm.max_map_count"] is None


def test_doctor_believes_the_driver_about_dev_kvm(tmp_path: Path) -> None:
    path = tmp_path / "kvm"
    kvm = Driver("kvm", str(path), is_boundary=True, host_sees_writes=False)
    assert doctor._device(kvm, set()) == "absent"
    path.touch()
    assert doctor._device(kvm, {"kvm"}) == "usable"
    assert doctor._device(kvm, set()) == "not usable: see driver kvm"
    works, not_ = DriverInfo("kvm", True, ""), DriverInfo("kvm", False, "no")
    assert doctor._devices([works]) == {"/dev/kvm": "usable"}
    assert "usable" not in doctor._devices([not_])["/dev/kvm"].split(":")


# Text from outside.


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
