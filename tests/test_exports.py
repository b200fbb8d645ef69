"""The public surface is what it says, and where it says."""

from __future__ import annotations

import ast
import importlib
import pickle
from pathlib import Path

from conftest import run_python

import hyperlight
from hyperlight import HyperlightError
from hyperlight._moved import MOVED

PACKAGE = Path(hyperlight.__file__).parent


def test_all_is_complete_and_unique() -> None:
    names = hyperlight.__all__
    assert len(set(names)) == len(names)
    for name in names:
        thing = getattr(hyperlight, name)
        if not name.startswith("__"):
            assert thing.__module__ == "hyperlight", name
            assert thing.__doc__, name


def test_nothing_else_is_public() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    public = {name for name in imported if name[0] != "_" or "__" in name}
    assert public == set(hyperlight.__all__)


def test_modules_export_what_they_define() -> None:
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        exported = [
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            and getattr(node.targets[0], "id", "") == "__all__"
        ]
        defined = {
            getattr(node, "name", "")
            for node in tree.body
            if isinstance(node, (ast.ClassDef, ast.FunctionDef))
        }
        assigned = {
            target.id
            for node in tree.body
            if isinstance(node, (ast.Assign, ast.AnnAssign))
            for target in getattr(node, "targets", None) or [node.target]
            if isinstance(target, ast.Name)
        }
        imported = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        if exported:
            there = defined | assigned | imported
            assert set(exported[0]) <= there | {"core"}, path


def test_modules_are_found_by_the_names_that_they_had() -> None:
    for old, new in MOVED.items():
        moved = importlib.import_module(f"hyperlight.{old}")
        assert moved is importlib.import_module(f"hyperlight.{new}")
        assert moved.__name__ == f"hyperlight.{new}"
        assert moved.__spec__.name == f"hyperlight.{new}"
    assert (
        run_python("""
import sys
import hyperlight
import hyperlight.config as old
from hyperlight.layout import Region
from hyperlight.hostfuncs import HostFunction
import hyperlight.sandbox.config as new
assert old is new and callable(hyperlight.drivers)
import importlib
importlib.reload(old)
import runpy
assert runpy.run_module("hyperlight.units")
assert "values_of" in runpy.run_module("hyperlight.run")
try:
    import hyperlight.nothing
except ModuleNotFoundError as error:
    assert error.name == "hyperlight.nothing"
else:
    sys.exit("found what is not there")
""").returncode
        == 0
    )


def test_errors_form_one_family_and_pickle() -> None:
    made = [
        HyperlightError("text"),
        hyperlight.TrackerUnavailable("uffd", "no", ["full"], "for this"),
        hyperlight.TrackerOverlap("text"),
        hyperlight.TrackerMissedPage("uffd", [1, 2]),
        hyperlight.SnapshotMismatch("text"),
        hyperlight.DriverUnavailable("kvm", "no", ["emulator"]),
        hyperlight.LayoutError("text"),
        hyperlight.LimitExceeded("memory", 5),
        hyperlight.GuestError(1000, "text"),
        hyperlight.GuestAborted("text", 14, 4, 0x1000, 0x2000),
        hyperlight.GuestTimeout("Spin", 0.3, "call_timeout"),
        hyperlight.GuestInterrupted("Spin"),
        hyperlight.SandboxPoisoned("text"),
    ]
    kinds = {
        thing
        for name in hyperlight.__all__
        if isinstance(thing := getattr(hyperlight, name), type)
        and issubclass(thing, Exception)
    }
    missing = kinds - {type(error) for error in made}
    assert all(issubclass(kind, Warning) for kind in missing), missing
    for error in made:
        assert isinstance(error, HyperlightError)
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.__dict__ == error.__dict__
    many = hyperlight.TrackerMissedPage("uffd", range(20))
    assert str(many).endswith("0, 1, 2, 3, 4, 5, 6, 7, ...")


def test_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def test_version() -> None:
    assert hyperlight.__version__.count(".") == 2
