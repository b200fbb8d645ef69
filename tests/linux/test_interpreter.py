"""What a guest must see of an interpreter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from hyperlight.linux.distributions import _tops
from hyperlight.linux.interpreter import (
    GUEST,
    LIBRARIES,
    PACKAGES,
    ROOT,
    find_interpreter,
)
from hyperlight.linux.libraries import find_libraries, needs_of

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.unsanitized,  # no C runs
    pytest.mark.skipif(sys.platform != "linux", reason="ELF files"),
]


def test_every_interpreter(interpreter_path: str) -> None:
    found = find_interpreter(interpreter_path)
    name = f"python{found.version[0]}.{found.version[1]}"
    guest = {guest: host for host, guest in found.shown}
    assert found.argv[0] == f"{ROOT}/bin/{name}"
    assert os.access(guest[f"{ROOT}/bin/{name}"], os.X_OK)
    assert os.path.exists(guest[f"{ROOT}/lib/{name}/os.py"])
    assert os.path.isdir(guest[f"{ROOT}/lib/{name}/lib-dynload"])
    assert os.path.exists(os.path.join(guest[GUEST], "shim.py"))
    assert f"{LIBRARIES}/libc.so.6" in guest
    assert needs_of(found.executable).interpreter in guest
    assert all(os.path.exists(host) for host in guest.values())
    assert not any("-packages" in one for one in guest)
    assert f"{ROOT}/lib/{name}/test" not in guest
    assert not found.missing


def test_it_starts_from_what_is_shown_alone(
    interpreter_path: str, tmp_path: Path
) -> None:
    """Copied to another root, as a guest has it, it runs there."""
    if os.geteuid() != 0:
        pytest.skip("chroot needs root")
    found = find_interpreter(interpreter_path)
    for host, guest in found.shown:
        target = tmp_path / guest.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.isdir(host):
            shutil.copytree(host, target, symlinks=False)
        else:
            shutil.copy2(host, target)
    (tmp_path / "dev").mkdir()
    settings = found.command(["f"], 1 << 20, device="fd:0")
    done = subprocess.run(
        settings,
        cwd=tmp_path,
        env=found.env,
        preexec_fn=lambda: os.chroot(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    # Its device is at its end at once.
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A virtual environment with distributions that were only written."""
    place = tmp_path / "env"
    venv.create(place, with_pip=False, symlinks=True)
    (site,) = place.glob("lib/python*/site-packages")

    def add(name: str, files: dict[str, str], requires: str = "") -> None:
        info = f"{name.replace('-', '_')}-1.0.dist-info"
        files = {
            **files,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\n"
            f"Version: 1.0\n{requires}",
        }
        record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
        for file, text in {**files, f"{info}/RECORD": record}.items():
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)

    add(
        "First-Dist",
        {"first/__init__.py": "import second", "first/sub/data.txt": ""},
        "Requires-Dist: second>=1; python_version > '3'\n"
        "Requires-Dist: third; extra == 'all'\n"
        "Requires-Dist: nonesuch\n",
    )
    add("second", {"second.py": "x = 2", "shared/two/__init__.py": ""})
    add("third", {"third.py": "", "shared/three/__init__.py": ""})
    add("linked", {"__editable___linked_finder.py": "", "linked.pth": ""})
    add("scripts", {"scripts-1.0.data/x": ""})
    return place / "bin" / "python"


def test_preloaded_distributions_and_what_they_require(
    installed: Path,
) -> None:
    found = find_interpreter(installed, preload=["first-dist", "json"])
    assert found.preload == ("first", "json")
    assert found.paths == (PACKAGES,)
    below = {
        guest.removeprefix(f"{PACKAGES}/")
        for _, guest in found.shown
        if guest.startswith(PACKAGES)
    }
    assert below == {
        "first",
        "First_Dist-1.0.dist-info",
        "second.py",
        "shared/two",
        "second-1.0.dist-info",
    }


@pytest.mark.parametrize("name", ["first", "first.sub", "second"])
def test_modules_may_be_named(installed: Path, name: str) -> None:
    found = find_interpreter(installed, preload=[name])
    assert found.preload == (name,)
    assert any(guest == f"{PACKAGES}/second.py" for _, guest in found.shown)


def test_a_virtual_environment_has_the_library_of_its_base(
    installed: Path,
) -> None:
    found = find_interpreter(installed)
    base = find_interpreter(os.path.realpath(installed))
    assert found.executable == os.path.realpath(installed)
    assert found.shown == base.shown


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nonesuch", "no module or distribution of that name"),
        ("linked", "a link to its sources"),
        ("scripts", "has no module"),
    ],
)
def test_refused(installed: Path, name: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        find_interpreter(installed, preload=[name])


def test_text_is_no_list_of_names() -> None:
    with pytest.raises(TypeError, match="not text"):
        find_interpreter(preload="numpy")
    with pytest.raises(TypeError, match="not text"):
        find_interpreter(paths="/tmp")
    with pytest.raises(ValueError, match="not a folder"):
        find_interpreter(paths=["/nonesuch"])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("#!/bin/sh\nexit 3\n", "no CPython of version 3.10"),
        ("#!/bin/sh\necho hello\n", "Expecting value"),
        ("nothing", "Exec format|Permission"),
        (
            """#!/bin/sh
            echo '{"implementation": "pypy", "version": [3, 11, 1]}'
            """,
            "is pypy 3.11; CPython",
        ),
    ],
)
def test_what_is_no_cpython(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "python"
    path.write_text(text)
    path.chmod(0o755)
    with pytest.raises(ValueError, match=error):
        find_interpreter(path)
    with pytest.raises(ValueError, match="No such file"):
        find_interpreter(tmp_path / "none")


def test_libraries_are_those_that_ld_so_finds(interpreter_path: str) -> None:
    executable = find_interpreter(interpreter_path).executable
    listed = subprocess.run(
        ["ldd", executable], capture_output=True, text=True, check=True
    ).stdout
    theirs = {
        os.path.realpath(line.split(" => ")[1].split(" ")[0])
        for line in listed.splitlines()
        if " => /" in line
    }
    libraries, missing = find_libraries([executable])
    mine = {os.path.realpath(path) for path in libraries.values()}
    loader = os.path.realpath(needs_of(executable).interpreter or "")
    assert mine - {loader} == theirs - {loader}
    assert missing == []


def test_damaged_files_need_nothing(tmp_path: Path) -> None:
    whole = Path(os.path.realpath(sys.executable)).read_bytes()
    path = tmp_path / "damaged"
    for at in (20, 32, 40, 54, 56, 64, 72, 100, 200, 300, 400, 500):
        path.write_bytes(whole[:at] + b"\xff\xff\xff\x7f" + whole[at + 4 :])
        needs_of(str(path))
    for size in (0, 10, 63, 64, 100, 1000):
        path.write_bytes(whole[:size])
        assert needs_of(str(path)).needed == ()
    assert needs_of(str(tmp_path)).needed == ()


def test_folders_that_are_shown() -> None:
    assert _tops(["a/__init__.py", "a/b/c.py", "d.py", "a.libs/x.so"]) == [
        "a",
        "d.py",
        "a.libs",
    ]
    assert _tops(["ns/a/__init__.py", "ns/a/x/y.py", "ns/b.py"]) == [
        "ns/a",
        "ns/b.py",
    ]
