"""What is installed is what was meant, and imports where it cannot work."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import platform
import re
import sys
from pathlib import Path

import pytest
from conftest import run_python
from core_sources import core_sources

import hyperlight

pytestmark = pytest.mark.unsanitized  # no C runs

ROOT = Path(__file__).parent.parent
PACKAGE = Path(hyperlight.__file__).parent
DISTRIBUTION = importlib.metadata.distribution("pyhyperlight")

#: First lines of a script that runs as if on another system: the C core is
#: not there, and nobody finds out by other means.
ELSEWHERE = """
import sys
sys.platform = "darwin"
sys.modules["hyperlight._core"] = None
import hyperlight
"""


def installed_files() -> set[str]:
    """What the distribution put into the package, or skip."""
    files = {str(path) for path in DISTRIBUTION.files or ()}
    if "hyperlight/__init__.py" not in files:
        pytest.skip("installed with -e: there are no installed files")
    return {name for name in files if name.startswith("hyperlight/")}


def test_the_metadata_names_this_version() -> None:
    assert DISTRIBUTION.version == hyperlight.__version__
    assert f"## {hyperlight.__version__}\n" in (
        ROOT / "CHANGELOG.md"
    ).read_text(encoding="utf-8")


def test_the_library_itself_requires_nothing() -> None:
    for requirement in DISTRIBUTION.requires or ():
        assert re.search(r";.*\bextra == ", requirement), requirement


def test_importing_it_loads_the_standard_library_alone() -> None:
    """Even where numpy, click and rich are installed."""
    script = """
import sys
before = set(sys.modules)
import hyperlight
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - sys.stdlib_module_names))
"""
    result = run_python(script)
    assert result.returncode == 0, result.stderr
    # Cython adds two names of its own that nobody wrote.
    names = result.stdout.split()
    assert [n for n in names if not n.startswith("_cython")] in (
        ["hyperlight"],
        ["cython_runtime", "hyperlight"],
    )


def test_every_promised_python_is_tested() -> None:
    promised = {
        line.rsplit(" ", 1)[1]
        for line in DISTRIBUTION.metadata.get_all("Classifier") or ()
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", line)
    }
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    found = re.search(r"py3\{([\d,]+)\}", tox["tox"]["env_list"])
    assert found
    assert {f"3.{minor}" for minor in found[1].split(",")} == promised
    oldest = min(promised, key=lambda text: int(text.split(".")[1]))
    assert DISTRIBUTION.metadata["Requires-Python"] == f">={oldest}"


def test_types_are_installed_and_sources_are_not() -> None:
    files = installed_files()
    assert {"hyperlight/py.typed", "hyperlight/_core.pyi"} <= files
    modules = {f"hyperlight/{path.name}" for path in PACKAGE.glob("*.py")}
    assert modules <= files
    assert not [
        name
        for name in files
        if name.endswith((".pyx", ".pxi", ".pxd", ".c", ".h"))
        and not name.startswith("hyperlight/guest/sdk/")
    ]


def test_guests_and_what_they_are_built_with_are_installed() -> None:
    files = installed_files()
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("guests are built on x86-64 Linux")
    sdk = {
        f"hyperlight/guest/sdk/{name}" for name in ("hyperlight.h", "guest.ld")
    }
    assert sdk <= files
    assert "hyperlight/guest/sdk/include/string.h" in files
    assert "hyperlight/guest/guests/simple" in files


@pytest.mark.parametrize(
    ("system", "windows"), [("linux", False), ("win32", True)]
)
def test_whoever_builds_the_core_takes_the_same_files(
    system: str, windows: bool
) -> None:
    """setup.py, and the tests that build the core themselves."""
    if not (ROOT / "setup.py").exists():
        pytest.skip("not in a checkout")
    pytest.importorskip("setuptools")
    env = {"HYPERLIGHT_SYSTEM": system}
    found = run_python(
        f"""
import os, runpy, setuptools
os.chdir({str(ROOT)!r})
setuptools.setup = lambda **_: None
print(*runpy.run_path("setup.py")["CSRC"], sep="\\n")
""",
        env=env,
    )
    assert found.returncode == 0, found.stderr
    x86 = platform.machine() in {"x86_64", "AMD64"}
    wanted = [
        str(path.relative_to(ROOT)) for path in core_sources(x86, windows)
    ]
    assert found.stdout.split() == wanted


def test_the_command_is_installed() -> None:
    scripts = DISTRIBUTION.entry_points.select(group="console_scripts")
    (script,) = scripts.select(name="hyperlight")
    assert callable(script.load())


def test_the_readme_has_the_commands_that_ci_calls() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    first_screen = lines[:24]
    assert "pip install tox && tox" in first_screen
    assert "pip install '.[cli]' && hyperlight demo" in first_screen
    assert "cli" in (DISTRIBUTION.metadata.get_all("Provides-Extra") or ())


def test_elsewhere_it_says_what_is_missing() -> None:
    script = """
for info in hyperlight.trackers():
    assert not info.available
    assert info.reason == (
        "not compiled in: needs Linux or Windows, and this is darwin"
    )
for make in (
    lambda: hyperlight.SharedMemory("1MiB"),
    lambda: hyperlight.SharedMemory.from_buffer(bytearray(4096)),
):
    try:
        make()
    except hyperlight.TrackerUnavailable as error:
        assert "needs Linux or Windows, and this is darwin" in str(error)
    else:
        raise AssertionError("there is no memory elsewhere")
assert hyperlight.fault_handlers() == []
print(*(info.name for info in hyperlight.trackers()))
"""
    result = run_python(ELSEWHERE + script, env={"PYTHONDEVMODE": "1"})
    assert result.returncode == 0
    assert result.stderr == ""
    assert result.stdout.split() == [t.name for t in hyperlight.trackers()]


def test_elsewhere_programs_say_what_is_missing() -> None:
    script = """
import os
from hyperlight import Files, Program, PythonSandbox
del os.O_PATH
for make in (
    PythonSandbox,
    lambda: Program(["/bin/true"]),
    lambda: Files().host("/"),
    lambda: Program(["/a"], files=Files().add("/a", b"")).run(),
    lambda: Program(["/a"], files=Files().add("/a", b"")).bake(),
):
    try:
        make()
    except hyperlight.DriverUnavailable as error:
        assert "programs need Linux, and this is darwin" in str(error)
    else:
        raise AssertionError("there are no programs elsewhere")
"""
    result = run_python(ELSEWHERE + script)
    assert result.returncode == 0, result.stderr


def test_elsewhere_page_sets_work() -> None:
    script = """
import mmap
from hyperlight._binding import core
assert core.PAGE_SIZE == mmap.PAGESIZE
some = hyperlight.PageSet.from_pages(130, [0, 1, 64, 129])
assert some.runs() == [(0, 2), (64, 1), (129, 1)]
assert list(some) == [0, 1, 64, 129] and len(some) == 4
assert 64 in some and 63 not in some
again = hyperlight.PageSet.from_bytes(130, some.to_bytes())
assert again == some and len(again - some) == 0
"""
    result = run_python(ELSEWHERE + script)
    assert result.returncode == 0, result.stderr


def test_elsewhere_the_doctor_says_to_go_to_linux() -> None:
    script = """
from hyperlight.cli import cli
cli(["doctor"])
"""
    result = run_python(ELSEWHERE + script)
    assert result.returncode == 0, result.stderr
    assert "Run on Linux" in result.stdout


def test_the_stand_in_has_all_that_is_used_of_the_core() -> None:
    used = {
        node.attr
        for path in PACKAGE.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "core"
    }
    script = f"""
from hyperlight import _absent
print(*(name for name in {sorted(used)!r} if not hasattr(_absent, name)))
"""
    result = run_python(ELSEWHERE + script)
    assert result.returncode == 0, result.stderr
    assert used > {"PAGE_SIZE", "MemoryCore", "probe_tracker"}
    assert result.stdout.split() == []
