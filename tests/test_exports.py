"""The public surface is what it says, and where it says."""

from __future__ import annotations

import ast
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import run_python

import hyperlight
from hyperlight import HyperlightError
from hyperlight._late import _PUBLIC, _SUBMODULES
from hyperlight._moved import MOVED

pytestmark = pytest.mark.unsanitized  # no C runs

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
        for node in ast.walk(tree)
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
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        if exported:
            there = defined | assigned | imported
            assert set(exported[0]) <= there | {"core"}, path


def source_of(package: str) -> ast.Module:
    folder = PACKAGE.joinpath(*package.split(".")[1:])
    return ast.parse((folder / "__init__.py").read_text())


@pytest.mark.parametrize("package", _PUBLIC)
def test_names_are_where_checkers_of_types_find_them(package: str) -> None:
    tree = source_of(package)
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert isinstance(block.test, ast.Name)
    assert block.test.id == "TYPE_CHECKING"
    assert {
        str(node.module): tuple(alias.name for alias in node.names)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    } == _PUBLIC[package]


@pytest.mark.parametrize("package", [*_PUBLIC][1:])
def test_modules_are_attributes_of_their_package(package: str) -> None:
    folder = PACKAGE.joinpath(*package.split(".")[1:])
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert modules == _SUBMODULES[package]
    result = run_python(f"""
import types
import {package} as package
for name in {sorted(modules)}:
    assert isinstance(getattr(package, name), types.ModuleType), name
for name in package.__all__:
    assert name in dir(package)
    assert getattr(package, name).__module__ in ("hyperlight", {package!r})
""")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("package", [*_PUBLIC][1:])
def test_a_package_imports_no_module_of_its_own(package: str) -> None:
    """Or else importing both from two threads is a deadlock: see below."""
    imported = {
        node.module
        for node in source_of(package).body
        if isinstance(node, ast.ImportFrom)
    }
    assert imported == {"hyperlight._late"}


def test_modules_import_from_modules() -> None:
    """A package would take a lock, with that of the module held."""
    programs = {"__main__.py", "cli", "bench"}
    for path in PACKAGE.rglob("*.py"):
        if programs & {*path.relative_to(PACKAGE).parts}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in _PUBLIC:
                names = {alias.name for alias in node.names}
                assert not names & {
                    *_SUBMODULES[node.module],
                    *(
                        name
                        for at in _PUBLIC[node.module].values()
                        for name in at
                    ),
                }, path


@pytest.mark.parametrize("package", [*_PUBLIC][1:])
def test_a_package_and_its_module_can_be_imported_at_once(
    package: str,
) -> None:
    """One thread is about to load the package, and another one has the lock
    of a module in it.
    """
    result = run_python(f"""
import sys, threading
import hyperlight

begun, never = threading.Event(), threading.Event()

class Slow:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {package!r}:
            begun.set()
            never.wait(0.2)  # the other gets as far as it can

sys.meta_path.insert(0, Slow)
failed = []

def use(name):
    try:
        __import__(name)
    except BaseException as error:
        failed.append(error)

first = threading.Thread(target=use, args=({package!r},))
first.start()
begun.wait()
use({next(iter(_PUBLIC[package]))!r})
first.join()
assert not failed, failed
""")
    assert result.returncode == 0, result.stderr


def test_a_name_is_there_however_its_module_was_imported() -> None:
    result = run_python("""
import sys
import hyperlight
assert "hyperlight.manager" not in sys.modules
assert {*hyperlight.__all__} <= {*dir(hyperlight)}
from hyperlight.errors import TrackerOverlap
assert TrackerOverlap.__module__ == "hyperlight"
import hyperlight.trackers
import hyperlight.drivers
assert callable(hyperlight.trackers) and callable(hyperlight.drivers)
from hyperlight.sandbox.config import SandboxConfig
assert SandboxConfig.__module__ == "hyperlight"
assert hyperlight.SandboxConfig is SandboxConfig
assert hyperlight.registry.TRACKERS and hyperlight.config.SandboxConfig
assert not hasattr(hyperlight, "nothing")
hyperlight.Snapshot = None
assert hyperlight.Snapshot is None
names = {}
exec("from hyperlight import *", names)
assert set(hyperlight.__all__) <= set(names)
""")
    assert result.returncode == 0, result.stderr


def test_a_child_of_fork_finds_what_another_thread_was_importing() -> None:
    """Python gives nobody back the lock of a half imported module."""
    result = run_python("""
import faulthandler, os, sys, threading
import hyperlight

begun, forking, forked = (threading.Event() for _ in range(3))

class Slow:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "hyperlight.manager":
            begun.set()
            forking.wait()
            forked.wait(0.3)  # in vain, as it should be

sys.meta_path.insert(0, Slow)
os.register_at_fork(before=forking.set, after_in_parent=forked.set)
thread = threading.Thread(target=lambda: hyperlight.SnapshotManager)
thread.start()
begun.wait()
pid = os.fork()
if pid == 0:
    faulthandler.dump_traceback_later(20, exit=True)
    hyperlight.SnapshotManager
    os._exit(0)
thread.join()
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
""")
    assert result.returncode == 0, result.stderr


def test_threads_that_first_use_names_at_once_get_them() -> None:
    """A package, and a module of it that the package imports, too."""
    result = run_python("""
import sys, threading
import hyperlight

begun, never = threading.Event(), threading.Event()

def trace(frame, event, argument):
    if (frame.f_code.co_name == "_find_and_load_unlocked"
            and frame.f_locals.get("name") == "hyperlight.sandbox"):
        threading.settrace(None)
        sys.settrace(None)
        begun.set()
        never.wait(0.3)  # the other gets as far as it can

failed = []

def use(name):
    try:
        getattr(hyperlight, name)
    except BaseException as error:
        failed.append(error)

first = threading.Thread(target=use, args=("Sandbox",))
threading.settrace(trace)
first.start()
begun.wait()
use("SandboxConfig")
first.join()
assert not failed, failed
""")
    assert result.returncode == 0, result.stderr


#: Modules that take long to import, and that restoring memory does not need.
HEAVY = {
    "ast",
    "dataclasses",
    "hashlib",
    "importlib.resources",
    "importlib.util",
    "inspect",
    "json",
    "logging",
    "pathlib",
    "random",
    "shutil",
    "signal",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "urllib",
}
#: Those that `typing` imports in some version of Python, and it.
TYPING = {"collections", "contextlib", "enum", "functools", "re", "typing"}


def test_what_is_imported_when() -> None:
    """Without `site`, whose own imports would hide ours."""
    script = f"""
import sys
sys.path.insert(0, {str(PACKAGE.parent)!r})
import hyperlight
print(*sys.modules)
with hyperlight.SharedMemory("1MiB") as memory:
    with hyperlight.SnapshotManager(memory) as manager:
        manager.take()
        memory.fill(0, 5000, 1)
        assert manager.restore().pages_zeroed == 2
        len(manager.dirty() | manager.changed())
print(*sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-S", "-E", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    first, then = (set(line.split()) for line in result.stdout.splitlines())
    ours = {name for name in first if name.startswith("hyperlight")}
    assert ours == {
        "hyperlight",
        "hyperlight._late",
        "hyperlight._moved",
        "hyperlight.version",
    }
    assert not first & (HEAVY | TYPING)
    assert not then & HEAVY
    assert not {n for n in then if n.startswith("hyperlight.sandbox")}


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
        hyperlight.ProgramExited(1, None, b"out", b"err", {"fork": 2}, "so"),
        hyperlight.ProgramExited(None, 11),
        hyperlight.PythonError("KeyError", "'a'", "Traceback"),
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
