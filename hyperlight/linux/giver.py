"""How a program gets its files: at its start, and when it asks for more."""

from __future__ import annotations

import errno
import os

from hyperlight._binding import core
from hyperlight.linux.nodes import (
    Announced,
    Content,
    Folder,
    HostFile,
    Link,
    Node,
)

__all__ = ["Giver"]


class Giver:
    """Gives one program the nodes of a tree.

    What is only announced has a number, its source, by which the program's
    memory knows it: so a restore takes it back, and it is asked for again.
    """

    def __init__(self, core: core.ProgramCore, root: Folder) -> None:
        self._core = core
        self._root = root
        self._sources: list[Announced | HostFile | Content] = []
        #: What was listed and read, once: given again after a restore, it is
        #: the same, and has the same number.
        self._numbers: dict[int, int] = {}
        self._listed: dict[int, list[tuple[bytes, Node]]] = {}
        self._bytes: dict[int, bytes] = {}

    def start(self, cwd: list[bytes]) -> None:
        """Give it all that is not the host's.

        Raises:
            OSError: It does not have room for it.
            ValueError: There is no folder `cwd`.
        """
        at = core.TREE_ROOT
        self._inside(at, self._root, cwd)

    def _inside(
        self, node: int, folder: Folder, cwd: list[bytes] | None
    ) -> None:
        left = [(node, folder, cwd)]
        while left:  # folders may be deeper than calls
            node, folder, cwd = left.pop()
            if cwd == []:
                self._core.work_in(node)
            for name, below in folder.inside.items():
                made = self._give(node, name, below)
                if isinstance(below, Folder):
                    here = cwd[1:] if cwd and cwd[0] == name else None
                    left.append((made, below, here))

    def _number(self, source: Announced | HostFile | Content) -> int:
        number = self._numbers.get(id(source))
        if number is None:
            self._sources.append(source)
            number = self._numbers[id(source)] = len(self._sources)
        return number

    def _give(self, folder: int, name: bytes, node: Node) -> int:
        """One node, without what is in it."""
        if isinstance(node, Folder):
            announced = node.announced
            return self._core.give(
                folder,
                name,
                core.TREE_FOLDER,
                0o755,
                node.changed,
                0,
                0 if announced is None else self._number(announced),
                node.fixed,
            )
        if isinstance(node, Link):
            made = self._core.give(
                folder, name, core.TREE_LINK, 0o777, node.changed
            )
            self._core.give_bytes(made, node.target)
            return made
        if isinstance(node, HostFile):
            return self._core.give(
                folder,
                name,
                core.TREE_FILE,
                node.mode,
                node.changed,
                node.size,
                self._number(node),
                True,
            )
        return self._give_content(folder, name, node)

    def _give_content(self, folder: int, name: bytes, node: Content) -> int:
        calls = callable(node.data)
        made = self._core.give(
            folder,
            name,
            core.TREE_FILE,
            node.mode,
            node.changed,
            0,
            self._number(node) if calls else 0,
            node.fixed,
        )
        if isinstance(node.data, bytes):
            self._core.give_bytes(made, node.data)
        return made

    def answer(self) -> None:
        """Give what the program asks for, in the middle of a call."""
        node, number = self._core.asked()
        source = self._sources[number - 1]
        error = 0
        try:
            if isinstance(source, Announced):
                self._list(node, number, source)
            elif isinstance(source, HostFile):
                self._core.give_bytes(node, self._read(number, source))
            else:
                self._core.give_copy(node, _call(source))
        except OSError as refused:
            error = refused.errno or errno.EIO
        self._core.answer(error, again=isinstance(source, Content))

    def _list(self, node: int, number: int, source: Announced) -> None:
        inside = self._listed.get(number)
        if inside is None:
            inside = self._listed[number] = list(source.list())
        for name, below in inside:
            try:
                made = self._give(node, name, below)
            except FileExistsError:  # added by name, which counts
                continue
            if isinstance(below, Folder):
                self._inside(made, below, None)

    def _read(self, number: int, source: HostFile) -> bytes:
        data = self._bytes.get(number)
        if data is None:
            data = self._bytes[number] = source.read()
        return data


def _call(source: Content) -> bytes:
    """What its function gives; any failure is the program's EIO."""
    assert callable(source.data)
    try:
        data = source.data()
    except Exception as error:
        raise OSError(errno.EIO, os.strerror(errno.EIO)) from error
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise OSError(errno.EIO, "the function returned no bytes")
    return bytes(data)
