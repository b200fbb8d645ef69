"""The emulator on this host: what it warns of, and which library it is."""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from click.testing import CliRunner
from conftest import require_driver, run_python

from hyperlight import (
    EmulatorWarning,
    Sandbox,
    SandboxConfig,
    registry,
)
from hyperlight._binding import core
from hyperlight.cli import cli
from hyperlight.emulator import find_emulator

drivers_module = importlib.import_module("hyperlight.sandbox.drivers")

New = Callable[..., Sandbox]


@pytest.fixture
def driver() -> str:
    return require_driver("emulator")


def test_a_choice_that_is_no_boundary_warns(driver: str) -> None:
    known = [d for d in registry.DRIVERS if d.name == driver]
    with pytest.warns(
        EmulatorWarning, match="not a security boundary"
    ) as all_:
        assert drivers_module.choose_driver("auto", known) == driver
    assert all_[0].filename == __file__
    assert "SandboxConfig(driver='emulator')" in str(all_[0].message)


def test_it_says_why_the_better_one_does_not_work(
    driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(name: str) -> drivers_module.DriverInfo:
        reason = "" if name == driver else "there is no such device"
        return drivers_module.DriverInfo(name, not reason, reason)

    monkeypatch.setattr(drivers_module, "_probe", probe)
    monkeypatch.setattr(drivers_module, "_working", set())
    with pytest.warns(EmulatorWarning, match="kvm: there is no such device"):
        assert drivers_module.choose_driver("auto") == driver
    # At the line that makes the sandbox, however deep in here it is decided.
    with pytest.warns(EmulatorWarning) as all_:
        Sandbox("simple").close()
    assert all_[0].filename == __file__


def test_asked_for_by_name_it_does_not_warn(driver: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drivers_module.choose_driver(driver)
        Sandbox("simple", config=SandboxConfig(driver=driver)).close()


def test_a_boundary_does_not_warn() -> None:
    name = require_driver("kvm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert drivers_module.choose_driver("auto") == name


def test_the_command_line_says_it_in_a_line(
    driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(name: str) -> drivers_module.DriverInfo:
        reason = "" if name == driver else "there is no such device"
        return drivers_module.DriverInfo(name, not reason, reason)

    monkeypatch.setattr(drivers_module, "_probe", probe)
    monkeypatch.setattr(drivers_module, "_working", set())
    result = CliRunner().invoke(cli, ["run", "simple", "EchoInt32", "7"])
    assert (result.exit_code, result.stdout) == (0, "7\n")
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: this sandbox runs on driver 'emulator'")
    asked = ["run", "--driver", driver, "simple", "EchoInt32", "7"]
    assert CliRunner().invoke(cli, asked).stderr == ""


# Packages of that name.


class _Refuses:
    def find_spec(self, *_: object) -> None:
        raise OSError("no imports today")


def test_packages_that_are_odd(monkeypatch: pytest.MonkeyPatch) -> None:
    without_spec = types.ModuleType("unicorn")
    without_spec.__spec__ = None
    monkeypatch.setitem(sys.modules, "unicorn", without_spec)
    assert find_emulator() is None
    monkeypatch.delitem(sys.modules, "unicorn")
    monkeypatch.setattr(sys, "meta_path", [_Refuses()])
    assert find_emulator() is None


def test_a_package_that_is_installed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "unicorn", raising=False)
    monkeypatch.setattr(core, "set_emulator_library", id)
    assert find_emulator() is None
    folder = tmp_path / "unicorn" / "lib"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "libunicorn.so.1").touch()
    (folder / "libunicorn.so.2").touch()
    importlib.invalidate_caches()
    assert find_emulator() == str(folder / "libunicorn.so.2")


_NOT_ONE = """
import sys
sys.path.insert(0, sys.argv[1])
import hyperlight
for info in hyperlight.drivers():
    print(info.name, info.available, info.reason)
"""


def test_libraries_that_are_none(tmp_path: Path) -> None:
    folder = tmp_path / "unicorn" / "lib"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    library = folder / "libunicorn.so.2"
    library.write_text("no library")
    ended = run_python(_NOT_ONE, str(tmp_path))
    assert ended.returncode == 0, ended
    assert "emulator False the Unicorn library does not load:" in ended.stdout
    library.unlink()
    library.symlink_to(core.__file__)
    ended = run_python(_NOT_ONE, str(tmp_path))
    assert ended.returncode == 0, ended
    assert "is not the Unicorn library" in ended.stdout


# State.


def test_guests_begin_with_the_usual_precision(new_sandbox: New) -> None:
    sandbox = new_sandbox()
    for _ in range(2):
        assert sandbox.call("GetFpuControl") == 0x37F
        assert sandbox.call("GetMxcsr") == 0x1F80
        sandbox.restore()


#: What a guest does to what it can read.
_CHANGED = {
    "selectors": "b81b000000 8ed8 8ec0 8ee0 8ee8",
    "code selectors": "b823000000 8ed8 8ec0",
    "null selectors": "b803000000 8ed8 8ec0 8ee0",
    "bases": "48b8" + "1234567800000000" + "f3480faed0 f3480faed8",
    "flags": "9c 810c2400002400 9d",  # AC, ID
    "direction": "fd",
    "mxcsr": "50 c704249f7f0000 0fae1424 58",
    "x87": "50 c704247f020000 d92c24 58 d9e8 d9eb",
    "mmx": "0f6ec0",
}


@pytest.mark.parametrize("act", _CHANGED.values(), ids=[*_CHANGED])
def test_all_that_can_be_read_is_put_back(new_sandbox: New, act: str) -> None:
    report = (
        "488b7b30 8c5f28 8c472c 8c6730 8c6f34"
        "f3480faec0 48894738 f3480faec8 48894740"
        "9c 58 48894748 0fae5f50 480fae87a0000000 d97758"
    )
    size = 0xA0 + 512 - 0x28
    guest = tiny.reporter(bytes.fromhex(act), bytes.fromhex(report), size)
    sandbox = new_sandbox(guest)
    base = sandbox.snapshot()
    before = sandbox.call("Go", False)
    sandbox.restore(base)
    changed = sandbox.call("Go", True)
    assert changed != before
    kept = sandbox.snapshot()
    after_leaving = sandbox.call("Go", False)
    sandbox.restore(base)
    assert sandbox.call("Go", False) == before
    sandbox.restore(kept)
    assert sandbox.call("Go", False) == after_leaving
