"""What is in a zip or tar file, which may have been made to do harm."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator

from hyperlight.linux.nodes import Content, Link, Node, names_in

__all__ = ["unpacked"]

#: Bytes that an archive may hold in all, and names.
_LARGEST, _MOST = 1 << 30, 1 << 16

#: Bytes of a tar file's headers that hold a long name or other texts.
_LARGEST_HEADER = 1 << 20

Found = Iterator[tuple[list[bytes], "Node | None"]]


class _Header(tarfile.TarInfo):
    """A header that is refused before anything is made of its size."""

    @classmethod
    def frombuf(
        cls, buf: bytes | bytearray, encoding: str | None, errors: str
    ) -> _Header:
        made = super().frombuf(buf, encoding, errors)  # type: ignore[arg-type]
        is_text = made.type not in tarfile.SUPPORTED_TYPES or made.type in (
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        )
        if made.size < 0 or (is_text and made.size > _LARGEST_HEADER):
            raise ValueError("a header of the archive has an invalid size")
        return made


def unpacked(data: bytes) -> Found:
    """Names and nodes of an archive; None: a folder.

    Raises:
        ValueError: It is no sound archive, or holds what a program cannot be
            given, or too much.
    """
    file = io.BytesIO(data)
    try:
        is_zip = zipfile.is_zipfile(file)
        file.seek(0)
        entries = _unzipped(file) if is_zip else _untarred(file)
        for number, entry in enumerate(entries):
            if number == _MOST:
                raise ValueError(f"the archive holds more than {_MOST} names")
            names, node = entry
            if node is not None and not names:
                raise ValueError("a file of the archive has no name")
            yield entry
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # parsers of such bytes raise whatever they do
        raise ValueError(
            f"neither a zip nor a tar file that can be read: {error}"
        ) from None


def _room(total: int) -> int:
    if total > _LARGEST:
        raise ValueError("the archive holds more than 1 GiB")
    return total


def _unzipped(file: io.BytesIO) -> Found:
    total = 0
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            names = names_in(os.fsencode(entry.filename))
            kind = stat.S_IFMT(entry.external_attr >> 16)
            total = _room(total + entry.file_size)
            if entry.is_dir():
                yield names, None
            elif kind in (0, stat.S_IFREG):
                mode = stat.S_IMODE(entry.external_attr >> 16) or 0o644
                yield names, Content(archive.read(entry), mode)
            elif kind == stat.S_IFLNK:
                yield names, Link.to(archive.read(entry))
            else:
                raise ValueError(f"{entry.filename!r} is no file")


def _untarred(file: io.BytesIO) -> Found:
    total = 0
    files: dict[tuple[bytes, ...], Content] = {}
    with tarfile.open(fileobj=file, tarinfo=_Header) as archive:
        for entry in archive:
            names = names_in(os.fsencode(entry.name))
            total = _room(total + entry.size)
            if entry.isdir():
                yield names, None
            elif entry.issym():
                yield names, Link.to(os.fsencode(entry.linkname))
            elif entry.isreg() or entry.islnk():
                # Of two names of a file each gets its own, of the same bytes.
                other = (
                    files.get(tuple(names_in(os.fsencode(entry.linkname))))
                    if entry.islnk()
                    else _content(archive, entry)
                )
                if other is None:
                    raise ValueError(f"{entry.name!r} leads nowhere")
                files[tuple(names)] = other
                yield names, other
            else:
                raise ValueError(f"{entry.name!r} is a device")


def _content(
    archive: tarfile.TarFile, entry: tarfile.TarInfo
) -> Content | None:
    opened = archive.extractfile(entry)
    if opened is None:
        return None
    data = opened.read()
    if len(data) != entry.size:
        raise ValueError(f"{entry.name!r} is cut short")
    return Content(data, entry.mode & 0o7777)
