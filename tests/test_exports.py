"""The public surface is what it says, and where it says."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path

import hyperlight
from hyperlight import HyperlightError

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
    assert imported == set(hyperlight.__all__)


def test_modules_export_what_they_define() -> None:
    for path in PACKAGE.glob("*.py"):
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
        public = {name for name in defined if name and name[0] != "_"}
        if exported and path.name != "__init__.py":
            assert set(exported[0]) <= public | {
                "core",
                "Step",
                "Guest",
                *("ABIS", "DRIVERS", "TRACKERS", "HOST_TRACKERS"),
            }, path.name


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
