"""The command line: tables for people, JSON for programs, clear errors."""

from __future__ import annotations

import json
import sys

import pytest
from click.testing import CliRunner, Result
from conftest import run_python

import hyperlight
from hyperlight import doctor, trackers
from hyperlight.cli import cli


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args, catch_exceptions=False)


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
        ("this kernel is too old: ...", "Upgrade to Linux 6.7"),
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
    assert len(lines) == 4
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
    from hyperlight import demo

    count = iter(range(10))
    monkeypatch.setattr(demo, "_checksum", lambda *_: next(count))
    result = run("demo", "--size", "1MiB", "--json")
    assert result.exit_code == 1
    assert json.loads(result.output)["identical"] is False


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (["demo", "--size", "lots"], 2, "'lots' is not a size"),
        (["demo", "--size", "0"], 2, "is not positive"),
        (["demo", "--size", "900TiB"], 1, "choose a smaller --size"),
        (["demo", "--size", "1MiB", "--tracker", "magic"], 1, "valid are"),
        (["demo", "--colour"], 2, "No such option"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_errors_are_one_line(args: list[str], status: int, says: str) -> None:
    result = run(*args)
    assert result.exit_code == status
    assert says in result.output
    assert "Traceback" not in result.output


def test_help_and_version() -> None:
    assert "doctor" in run("--help").output
    assert hyperlight.__version__ in run("--version").output


def test_as_a_module() -> None:
    script = "import sys; sys.argv[1:] = ['doctor', '--json']; import runpy; "
    script += "runpy.run_module('hyperlight', run_name='__main__')"
    result = run_python(script)
    assert result.returncode == 0, result.stderr
    json.loads(result.stdout)


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_says_what_to_install(missing: str) -> None:
    script = f"""
import sys
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
        f"hyperlight: the command line needs {missing}: "
        f"pip install 'pyhyperlight[cli]'\n"
    )
    assert sys.version_info >= (3, 10)
