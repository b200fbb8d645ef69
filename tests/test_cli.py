"""The command line: tables for people, JSON for programs, clear errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import HERE, run_python

import hyperlight
from hyperlight import DriverInfo, doctor, trackers
from hyperlight.cli import cli, ledger
from hyperlight.registry import Driver

pytestmark = pytest.mark.unsanitized  # no C that others do not run

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
    kvm = Driver(
        "kvm",
        str(path),
        is_boundary=True,
        host_sees_writes=False,
        pins_memory=False,
    )
    assert doctor._device(kvm, set()) == "absent"
    path.touch()
    assert doctor._device(kvm, {"kvm"}) == "usable"
    assert doctor._device(kvm, set()) == "not usable: see driver kvm"
    works, not_ = DriverInfo("kvm", True, ""), DriverInfo("kvm", False, "no")
    assert doctor._devices([works])["/dev/kvm"] == "usable"
    assert "usable" not in doctor._devices([not_])["/dev/kvm"].split(":")
