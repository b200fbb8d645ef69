"""The files that a program sees."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsIndex

from hyperlight.linux.archives import unpacked
from hyperlight.linux.beneath import open_root
from hyperlight.linux.elsewhere import refuse_elsewhere
from hyperlight.linux.nodes import (
    Announced,
    Content,
    Folder,
    Link,
    Node,
    Root,
    host_file,
    names_in,
)
from hyperlight.text import brief
from hyperlight.units import parse_size

__all__ = ["Files"]


class Files:
    """What a program sees as its files; nothing of the host unless said.

    Every method returns the object itself, so that calls can be chained:

    >>> from hyperlight import Files
    >>> files = Files().add("/data/table.csv", "1,2").temporary()

    Paths of the program are absolute. One object can be used for any number of
    programs; each gets what was in it when the program was made. A program
    also has ``/dev`` with ``null``, ``zero``, ``random``, ``urandom`` and
    ``hyperlight``.
    """

    def __init__(self) -> None:
        self._root = Folder()
        self._temporary = 0
        #: Folders of the host that something is shown of.
        self._roots: dict[str, Root] = {}

    def add(
        self,
        path: str | os.PathLike[str],
        data: bytes | str | Callable[[], bytes],
        *,
        mode: int = 0o644,
        fixed: bool = False,
    ) -> Files:
        """A file of these bytes.

        Args:
            path: Where the program has it.
            data: ``str`` is encoded as UTF-8. A function is called each time
                that the program opens the file, and returns its bytes; if it
                raises, the program gets the error ``EIO``.
            mode: Its permission bits.
            fixed: The program cannot change it.

        Raises:
            ValueError: The path is not absolute, or cannot be.
            TypeError: `data` is none of these.
        """
        if isinstance(data, str):
            data = data.encode()
        elif isinstance(data, (bytes, bytearray, memoryview)):
            data = bytes(memoryview(data))  # no class of somebody's own
        if not isinstance(data, bytes) and not callable(data):
            raise TypeError(
                f"data={brief(data)} is neither bytes, nor text, nor a "
                f"function"
            )
        self._put(path, Content(data, mode & 0o7777, fixed=fixed))
        return self

    def link(
        self, path: str | os.PathLike[str], target: str | os.PathLike[str]
    ) -> Files:
        """A symbolic link; it leads to a path of the program's.

        Raises:
            ValueError: `target` is empty, has a NUL in it, or is too long.
        """
        self._put(path, Link.to(os.fsencode(os.fspath(target))))
        return self

    def folder(self, path: str | os.PathLike[str]) -> Files:
        """An empty folder, if there is none there."""
        self._root.place(_names(path))
        return self

    def host(
        self,
        path: str | os.PathLike[str],
        at: str | os.PathLike[str] | None = None,
    ) -> Files:
        """A folder or file of the host, read only.

        A file is read when the program opens it for the first time, a folder
        is listed when it looks into it: later changes of the host's may be
        seen or not. Links in a folder lead to where the program has such a
        path; nothing outside of the folder is ever opened. Devices, FIFOs and
        sockets are not shown.

        Args:
            path: Of the host. If it is a link, what it leads to is shown.
            at: Where the program has it; None: at the same path, made
                absolute.

        Raises:
            OSError: It cannot be opened.
            ValueError: It is neither a folder nor a regular file.
            DriverUnavailable: This is not Linux.
        """
        refuse_elsewhere()
        given = os.path.abspath(os.fspath(path))
        real = os.path.realpath(given)
        names = _names(given if at is None else at)
        status = os.stat(real)
        folder, name = os.path.split(real)
        root = self._roots.get(folder)
        if root is None:
            root = self._roots[folder] = Root(open_root(folder))
        if stat.S_ISDIR(status.st_mode):
            announced = Announced(root, name or ".", status.st_mtime_ns)
            here = self._root.place(names)
            here.announced, here.fixed = announced, True
            here.changed = status.st_mtime_ns
            return self
        node = host_file(root, name, status)
        if node is None:
            raise ValueError(
                f"path={brief(path)} is neither a folder nor a regular file"
            )
        self._root.put(names, node)
        return self

    def archive(
        self,
        archive: str | os.PathLike[str] | bytes,
        at: str | os.PathLike[str] = "/",
    ) -> Files:
        """What is in a zip or tar file; the program may change it.

        Args:
            archive: A path of the host, or the bytes.
            at: The folder that it is unpacked into.

        Raises:
            ValueError: It is no such archive, or it has names that lead out of
                it, devices, files in the place of folders, more than 1 GiB, or
                too many names. Nothing of it was added.
        """
        data = (
            archive
            if isinstance(archive, bytes)
            else Path(os.fspath(archive)).read_bytes()
        )
        folder, root = _names(at), self._root.copy()
        try:
            for names, node in unpacked(data):
                if node is None:
                    root.place([*folder, *names])
                else:
                    root.put([*folder, *names], node)
        except NotADirectoryError as error:
            raise ValueError(f"the archive: {error}") from None
        self._root = root
        return self

    def temporary(
        self,
        path: str | os.PathLike[str] = "/tmp",  # noqa: S108
        size: SupportsIndex | str = "16MiB",
    ) -> Files:
        """A folder for files that the program makes, in its own memory.

        They go back with a restore. All such folders share their room with
        all other files that the program writes, which is at least the sum of
        their sizes and :attr:`SandboxConfig.files_size`.
        """
        self._temporary += parse_size(size, "size")
        self._root.place(_names(path))
        return self

    def _put(self, path: str | os.PathLike[str], node: Node) -> None:
        self._root.put(_names(path), node)

    @staticmethod
    def _names_of(path: str | os.PathLike[str]) -> list[bytes]:
        """The names of an absolute path of a program's."""
        return _names(path)

    @property
    def room(self) -> int:
        """Bytes that temporary folders ask for."""
        return self._temporary

    def copy(self) -> Files:
        """Another one with the same in it."""
        made = Files()
        made._root = self._root.copy()
        made._temporary = self._temporary
        made._roots = self._roots.copy()
        return made

    def __copy__(self) -> Files:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Files:
        return self.copy()

    def _find(self, path: str | os.PathLike[str]) -> Node | None:
        """What a path leads to, or None; links are followed."""
        names, links, at = _names(path), 0, [self._root]
        while names:
            name = names.pop(0)
            node = _child(at[-1], name)
            if isinstance(node, Link):
                links += 1
                target = node.target.split(b"/")
                if links > 40:
                    return None
                if target[0] == b"":
                    at = [self._root]
                names = [n for n in target if n not in (b"", b".")] + names
            elif name == b"..":
                at = at[:-1] or at
            elif isinstance(node, Folder):
                at.append(node)
            else:
                return None if names else node
        return at[-1]

    def __repr__(self) -> str:
        return f"<Files: {', '.join(map(os.fsdecode, self._root.inside))}>"


def _child(folder: Folder, name: bytes) -> Node | None:
    node = folder.inside.get(name)
    if node is None and folder.announced is not None:
        return dict(folder.announced.list()).get(name)
    return node


def _names(path: str | os.PathLike[str]) -> list[bytes]:
    """The names of an absolute path.

    Raises:
        ValueError: It is relative, has ``..`` in it, or is too long.
        TypeError: It is no path.
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"path={brief(path)} is not text")
    if not text.startswith("/"):
        raise ValueError(f"path={brief(path)} is not absolute")
    return names_in(os.fsencode(text))
