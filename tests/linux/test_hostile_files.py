"""Archives and paths that were made to do harm."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
import zipfile
from typing import Literal

import pytest

from hyperlight import Files
from hyperlight.linux import archives

pytestmark = pytest.mark.unsanitized  # no C runs


def _tar(
    *entries: tuple[str, bytes, bytes | str],
    mode: Literal["w", "w:gz"] = "w",
) -> bytes:
    """Of (name, type, its bytes or where it leads)."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        for name, kind, content in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            if isinstance(content, str):
                entry.linkname = content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def _zip(name: str, content: bytes, mode: int = 0o100644) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        archive.writestr(entry, content)
    return made.getvalue()


def _changed(data: bytes, at: int, value: int) -> bytes:
    made = bytearray(data)
    made[at] ^= value
    return bytes(made)


def _header(kind: bytes, size: int) -> bytes:
    """Of a tar file that holds zeros, and little of them."""
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = kind, size
    return gzip.compress(
        entry.tobuf(tarfile.GNU_FORMAT)[:512]
    ) + gzip.compress(bytes(1 << 16))


FILE, LINK, HARD = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
SOUND = _zip("a/b", b"x" * 100)
DIRECTORY = SOUND.index(b"PK\1\2")

HOSTILE = {
    "up": _tar(("../x", FILE, b"1")),
    "up in a zip": _zip("a/../../x", b"1"),
    "a character device": _tar(("x", tarfile.CHRTYPE, b"")),
    "a block device": _tar(("x", tarfile.BLKTYPE, b"")),
    "a pipe": _tar(("x", tarfile.FIFOTYPE, b"")),
    "a device in a zip": _zip("x", b"", 0o020644),
    "the root": _tar((".", FILE, b"1")),
    "no name": _zip("", b""),
    "a long name": _tar(("a" * 300, FILE, b"1")),
    "an empty link": _zip("x", b"", 0o120777),
    "a link with NUL": _zip("x", b"a\0b", 0o120777),
    "a long link": _zip("x", b"a" * 5000, 0o120777),
    "a link to a link outside": _tar(("l", LINK, "/etc/x"), ("h", HARD, "l")),
    "a second name of nothing": _tar(("h", HARD, "none")),
    "a second name of itself": _tar(("h", HARD, "h")),
    "a loop": _tar(("s", LINK, "t"), ("t", LINK, "s"), ("h", HARD, "s")),
    "a file as a folder": _tar(("a", FILE, b"1"), ("a/b", FILE, b"2")),
    "cut short": _tar(("a", FILE, os.urandom(9000)), mode="w:gz")[:5000],
    "cut shorter": _tar(("a", FILE, b"1"), mode="w:gz")[:40],
    "cut in a file": _tar(("a", FILE, bytes(9000)))[:3000],
    "a cut zip": SOUND[:20] + SOUND[40:],
    "a wrong sum": _changed(SOUND, DIRECTORY + 16, 1),
    "an unknown method": _changed(SOUND, DIRECTORY + 10, 64),
    "encrypted": _changed(SOUND, DIRECTORY + 8, 1),
    "noise": os.urandom(1000),
    "nothing": b"",
    "a large file": _header(FILE, 5 << 30),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_archives_that_are_refused(name: str) -> None:
    files = Files().add("/before", b"1")
    with pytest.raises(ValueError, match=r"\w"):
        files.archive(HOSTILE[name], "/at")
    assert repr(files) == "<Files: before>"  # nothing was added


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (tarfile.XHDTYPE, 3 << 30),
        (tarfile.GNUTYPE_LONGNAME, 3 << 30),
        (FILE, -5 << 30),
    ],
)
def test_sizes_are_refused_before_anything_is_read(
    kind: bytes, size: int
) -> None:
    with pytest.raises(ValueError, match="invalid size"):
        Files().archive(_header(kind, size))


def test_too_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST", 10)
    ten = [(f"name{i}", FILE, b"") for i in range(10)]
    Files().archive(_tar(*ten))
    with pytest.raises(ValueError, match="more than 10 names"):
        Files().archive(_tar(*ten, ("one", FILE, b"")))


def test_second_names_take_no_memory() -> None:
    data = _tar(
        ("big", FILE, bytes(8 << 20)),
        *((f"name{i}", HARD, "big") for i in range(2000)),
        mode="w:gz",
    )
    begun = time.monotonic()
    files = Files().archive(data)
    assert time.monotonic() - begun < 10
    one, other = files._find("/big"), files._find("/name1999")
    assert one.data is other.data  # type: ignore[union-attr]


def test_links_lead_to_where_the_program_has_such_a_path() -> None:
    files = Files().archive(_tar(("l", LINK, "../../../etc/passwd")))
    assert files._find("/l") is None


def test_folders_deeper_than_calls() -> None:
    files = Files().archive(_tar(("a/" * 1800 + "f", FILE, b"1")))
    assert files.copy()._find("/" + "a/" * 1800 + "f") is not None


def test_paths_that_cannot_be() -> None:
    files = Files()
    for path in ("", "a", "/a/../b", "/a\0", "/" + "a" * 256, "/a" * 3000):
        with pytest.raises(ValueError, match=r"\w"):
            files.add(path, b"")
    with pytest.raises(ValueError, match="root"):
        files.add("/", b"")
    for target in ("", "a\0b", "a" * 5000):
        with pytest.raises(ValueError, match="link"):
            files.link("/l", target)
    with pytest.raises(TypeError):
        files.add("/x", 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        files.add(b"/x", b"")  # type: ignore[arg-type]


def test_bytes_of_a_class_of_their_own() -> None:
    class Odd(bytes):
        def __bytes__(self) -> bytes:
            return b"other"

    node = Files().add("/x", Odd(b"these"))._find("/x")
    assert type(node.data) is bytes  # type: ignore[union-attr]
    assert node.data == b"these"  # type: ignore[union-attr]
