"""What a program's tree of files consists of, before a program has it."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hyperlight._copying import NotCopied
from hyperlight.linux.beneath import open_beneath, read_file
from hyperlight.text import brief

__all__ = [
    "Announced",
    "Content",
    "Folder",
    "HostFile",
    "Link",
    "Node",
    "names_in",
]

_LONGEST_NAME = 255
_LONGEST_PATH = 4095


def names_in(path: bytes) -> list[bytes]:
    """The names of a path.

    Raises:
        ValueError: It has ``..`` in it, or NUL, or is too long.
    """
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    if (
        b"\0" in path
        or b".." in names
        or len(path) > _LONGEST_PATH
        or any(len(name) > _LONGEST_NAME for name in names)
    ):
        raise ValueError(
            f"{brief(os.fsdecode(path))} cannot be a path: it has '..' or NUL "
            f"in it, or is too long"
        )
    return names


def _now() -> int:
    return time.time_ns()


@dataclass
class Content:
    """A file of these bytes, or of what a function gives once an open."""

    data: bytes | Callable[[], bytes]
    mode: int = 0o644
    changed: int = field(default_factory=_now)
    fixed: bool = False


@dataclass
class Link:
    """A symbolic link; where it leads to is the program's tree."""

    target: bytes
    changed: int = field(default_factory=_now)

    @classmethod
    def to(cls, target: bytes) -> Link:
        """One that a program can follow.

        Raises:
            ValueError: It is empty, has a NUL in it, or is too long.
        """
        if not target or b"\0" in target or len(target) > _LONGEST_PATH:
            raise ValueError(
                f"a link cannot lead to {brief(os.fsdecode(target))}: that is "
                f"empty, has a NUL in it, or is too long"
            )
        return cls(target)


@dataclass
class Root(NotCopied):
    """A folder of the host, kept open as long as anybody needs it."""

    _bound_to = "descriptor"

    descriptor: int

    def __del__(self) -> None:
        os.close(self.descriptor)


@dataclass
class HostFile:
    """A file of the host beneath a root: read when a program opens it."""

    root: Root
    path: str
    size: int
    mode: int
    changed: int

    def read(self) -> bytes:
        """Its bytes, or OSError."""
        return read_file(self.root.descriptor, self.path)


@dataclass
class Announced:
    """A folder of the host beneath a root: listed when a program looks."""

    root: Root
    path: str
    changed: int

    def list(self) -> Iterator[tuple[bytes, Node]]:
        """Names and nodes of what is in it now: files, folders and links.

        Raises:
            OSError: It cannot be read.
        """
        descriptor = open_beneath(
            self.root.descriptor, self.path, os.O_DIRECTORY
        )
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    node = self._node(descriptor, entry)
                    if node is not None:
                        yield os.fsencode(entry.name), node
        finally:
            os.close(descriptor)

    def _node(self, folder: int, entry: os.DirEntry[str]) -> Node | None:
        path = f"{self.path}/{entry.name}"
        try:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(entry.name, dir_fd=folder)
                return Link(os.fsencode(target), status.st_mtime_ns)
        except FileNotFoundError:  # a moment ago it was there
            return None
        if stat.S_ISDIR(status.st_mode):
            beneath = Announced(self.root, path, status.st_mtime_ns)
            return Folder({}, beneath, True, status.st_mtime_ns)
        return host_file(self.root, path, status)


def host_file(
    root: Root, path: str, status: os.stat_result
) -> HostFile | None:
    """None: it is no regular file, and nothing for a program."""
    if not stat.S_ISREG(status.st_mode):
        return None
    return HostFile(
        root,
        path,
        status.st_size,
        stat.S_IMODE(status.st_mode) & 0o555,
        status.st_mtime_ns,
    )


@dataclass
class Folder:
    """A folder; what is in it by name, and what of the host's besides."""

    inside: dict[bytes, Node] = field(default_factory=dict)
    announced: Announced | None = None
    fixed: bool = False
    changed: int = field(default_factory=_now)

    def copy(self) -> Folder:
        """The same, so that to add to the one does not change the other."""
        made = self._alone()
        left = [(self, made)]
        while left:  # folders may be deeper than calls
            old, new = left.pop()
            for name, node in old.inside.items():
                if isinstance(node, Folder):
                    below = new.inside[name] = node._alone()
                    left.append((node, below))
                else:
                    new.inside[name] = node
        return made

    def _alone(self) -> Folder:
        return Folder({}, self.announced, self.fixed, self.changed)

    def put(self, names: list[bytes], node: Node) -> None:
        """A node at that path, in the place of what was there.

        Raises:
            ValueError: The path has no names.
            NotADirectoryError: Something else is on the way.
        """
        if not names:
            raise ValueError("the root is a folder, and no file")
        *folders, last = names
        self.place(folders).inside[last] = node

    def place(self, names: list[bytes]) -> Folder:
        """The folder of that path, made where it is missing.

        Raises:
            NotADirectoryError: Something else is on the way.
        """
        at = self
        for name in names:
            below = at.inside.get(name)
            if below is None:
                below = at.inside[name] = at.beneath(name) or Folder()
            if not isinstance(below, Folder):
                raise NotADirectoryError(
                    errno.ENOTDIR, "not a folder", os.fsdecode(name)
                )
            at = below
        return at

    def beneath(self, name: bytes) -> Folder | None:
        """The folder of that name which the host has in this one."""
        here = self.announced
        if here is None:
            return None
        for found, node in here.list():
            if found == name and isinstance(node, Folder):
                return node
        return None


Node = Content | Link | HostFile | Folder
