"""What a program sees as files: nothing of the host unless said."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hyperlight import Files, PythonSandbox

pytestmark = pytest.mark.any_python

Make = Callable[..., PythonSandbox]

READ = """
import os
def read(path):
    try:
        return open(path, 'rb').read()
    except OSError as error:
        return error.errno
{path: read(path) for path in paths}
"""


def read(sandbox: PythonSandbox, *paths: str) -> list[Any]:
    """What a script gets from these paths: bytes, or an errno."""
    got = sandbox.run(READ, inputs={"paths": list(paths)})
    assert got.error is None, got.error
    found: dict[str, Any] = got.value
    return [found[path] for path in paths]


def test_files_are_given(needs_machine: Make) -> None:
    files = (
        Files()
        .add("/data/a", b"bytes")
        .add("/data/b", "text", fixed=True)
        .link("/data/c", "a")
        .folder("/empty")
    )
    sandbox = needs_machine(files=files)
    assert read(sandbox, "/data/a", "/data/b", "/data/c", "/data/d") == [
        b"bytes",
        b"text",
        b"bytes",
        2,
    ]
    got = sandbox.run(
        "import os\nopen('/data/a', 'w').write('new')\n"
        "try:\n    open('/data/b', 'w')\n"
        "except OSError as e:\n    n = e.errno\n"
        "(open('/data/a').read(), n, os.listdir('/empty'))"
    )
    assert got.value == ("new", 30, [])
    assert read(sandbox, "/data/a") == [b"bytes"]  # put back


def test_a_function_is_asked_at_each_open(needs_machine: Make) -> None:
    calls: list[int] = []

    def data() -> bytes:
        calls.append(len(calls))
        if len(calls) > 2:
            raise RuntimeError("no more")
        return b"%d" % len(calls)

    sandbox = needs_machine(files=Files().add("/f", data))
    got = sandbox.run("open('/f').read() + open('/f').read()")
    assert got.value == "12"
    assert read(sandbox, "/f") == [5]  # EIO
    assert len(calls) == 3


def test_a_folder_of_the_host(needs_machine: Make, tmp_path: Path) -> None:
    shown, hidden = tmp_path / "shown", tmp_path / "hidden"
    (shown / "sub").mkdir(parents=True)
    hidden.mkdir()
    (hidden / "secret").write_text("secret")
    (shown / "a").write_text("a")
    (shown / "sub/b").write_text("b")
    (shown / "out").symlink_to(hidden / "secret")
    (shown / "up").symlink_to("../hidden/secret")
    (shown / "in").symlink_to("sub/b")
    os.mkfifo(shown / "fifo")
    sandbox = needs_machine(files=Files().host(shown, "/shown"))
    names = ["a", "sub/b", "in", "out", "up", "fifo", "../hidden/secret"]
    assert read(sandbox, *(f"/shown/{name}" for name in names)) == [
        b"a",
        b"b",
        b"b",
        2,
        2,
        2,
        2,
    ]
    got = sandbox.run("import os\nsorted(os.listdir('/shown'))")
    assert got.value == ["a", "in", "out", "sub", "up"]
    for script in (
        "open('/shown/new', 'w')",
        "open('/shown/a', 'a')",
        "__import__('os').remove('/shown/a')",
        "__import__('os').rmdir('/shown/sub')",
        "__import__('os').rename('/shown/a', '/a')",
        "__import__('os').mkdir('/shown/sub/new')",
    ):
        error = sandbox.run(script).error
        assert error is not None, script
        assert error.type == "OSError", script
        assert "Read-only" in error.message, script
    assert (shown / "a").read_text() == "a"


def test_a_file_that_becomes_a_link_is_not_followed(
    needs_machine: Make, tmp_path: Path
) -> None:
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown/f").write_text("here")
    (tmp_path / "secret").write_text("secret")

    def swap() -> None:
        (tmp_path / "shown/f").unlink()
        (tmp_path / "shown/f").symlink_to(tmp_path / "secret")

    sandbox = needs_machine(
        files=Files().host(tmp_path / "shown", "/shown"),
        host_functions={"swap": swap},
    )
    got = sandbox.run(
        "import os, host\nos.listdir('/shown')\nhost.swap()\n"
        "try:\n    x = open('/shown/f').read()\n"
        "except OSError as e:\n    x = e.errno\nx"
    )
    assert got.value == 40  # ELOOP


@pytest.mark.parametrize(
    "path",
    ["/../etc/passwd", "/shown/../../etc/passwd", "/" + "a/" * 2100, "a\0b"],
)
def test_hostile_paths(needs_machine: Make, path: str) -> None:
    sandbox = needs_machine()
    got = sandbox.run("open(path)", inputs={"path": path})
    assert got.error is not None
    assert got.error.type in ("FileNotFoundError", "OSError", "ValueError")


def test_links_in_a_circle(needs_machine: Make) -> None:
    files = Files().link("/a", "b").link("/b", "a")
    assert read(needs_machine(files=files), "/a") == [40]


def _zip(names: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return file.getvalue()


def _tar(*members: tuple[str, bytes, bytes, str]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind, data, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def test_archives(needs_machine: Make, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(_zip({"d/x": b"1", "y": b"2"}))
    tar = _tar(
        ("d/x", tarfile.REGTYPE, b"3", ""), ("l", tarfile.SYMTYPE, b"", "d/x")
    )
    files = Files().archive(tmp_path / "a.zip", "/zip").archive(tar, "/tar")
    sandbox = needs_machine(files=files)
    paths = "/zip/d/x", "/zip/y", "/tar/d/x", "/tar/l"
    assert read(sandbox, *paths) == [b"1", b"2", b"3", b"3"]


@pytest.mark.parametrize(
    "archive",
    [
        _zip({"../x": b""}),
        _zip({"a/../../x": b""}),
        _zip({"a" * 300: b""}),
        _tar(("../x", tarfile.REGTYPE, b"", "")),
        _tar(("x", tarfile.CHRTYPE, b"", "")),
        _tar(("x", tarfile.FIFOTYPE, b"", "")),
        b"no archive",
        b"",
    ],
)
def test_hostile_archives(archive: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Files().archive(archive)


@pytest.mark.parametrize("path", ["a", "", "/a/../b", "/a\0", "/" + "a" * 256])
def test_paths_that_cannot_be(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        Files().add(path, b"")


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="data=5"):
        Files().add("/a", 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not text"):
        Files().add(b"/a", b"")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        Files().host(tmp_path / "missing")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ValueError, match="neither a folder nor"):
        Files().host(tmp_path / "fifo")
    with pytest.raises(ValueError, match="the root is a folder"):
        Files().add("/", b"")


def test_copies(tmp_path: Path) -> None:
    """Two owners of a folder's descriptor would close somebody else's."""
    files = Files().host(tmp_path, "/a")
    gc.collect()  # what other tests left
    before = set(os.listdir("/proc/self/fd"))
    for duplicate in (copy.copy, copy.deepcopy, Files.copy):
        another = duplicate(files)
        another.add("/b", b"")
        del another
        gc.collect()
        assert repr(files) == "<Files: a>"
        assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(files)
    assert files._find("/a") is not None


def test_one_object_for_many(needs_machine: Make) -> None:
    files = Files().add("/a", b"1")
    first = needs_machine(files=files)
    files.add("/b", b"2")
    second = needs_machine(files=files)
    assert read(first, "/a", "/b") == [b"1", 2]
    assert read(second, "/a", "/b") == [b"1", b"2"]
