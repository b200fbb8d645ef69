"""Memory that can be tracked."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Literal, SupportsIndex

from hyperlight._binding import core
from hyperlight._copying import NotCopied
from hyperlight.units import format_size, parse_size

if TYPE_CHECKING:
    from hyperlight._core import HasBuffer

__all__ = ["SharedMemory"]

HugePages = Literal["auto"] | bool


class SharedMemory(NotCopied, core.MemoryCore):
    """Zero-filled, page-aligned memory with a guard page on either side.

    It is shared between Python, numpy and C by way of the buffer protocol
    (writable, format ``"B"``), and takes memory only where it is touched.

    Args:
        size: Bytes, or text such as ``"64MiB"``; rounded up to whole pages.
        hugepages: Whether to ask for 2 MiB pages (``madvise(2)``,
            ``MADV_HUGEPAGE``). They make looking for dirty pages ten times
            cheaper and first touches faster, and cost 2 MiB where a single
            byte is touched. ``"auto"`` asks for them from 64 MiB on and leaves
            smaller sizes to the system; False refuses them
            (``MADV_NOHUGEPAGE``).

    Raises:
        ValueError: `size` is not positive or not a size.
        MemoryError: The address space has no room for it.

    Close it, or use it as a context manager; it is also freed when nothing
    refers to it. Any thread may use it.
    """

    def __init__(
        self, size: SupportsIndex | str, *, hugepages: HugePages = "auto"
    ) -> None:
        if hugepages is True or hugepages is False:
            huge = core.HUGE_ALWAYS if hugepages else core.HUGE_NEVER
        elif isinstance(hugepages, str) and str.__eq__(hugepages, "auto"):
            huge = core.HUGE_AUTO
        else:
            raise ValueError(
                f'hugepages={hugepages!r}: valid are "auto", True, False'
            )
        wanted = parse_size(size)
        if wanted > sys.maxsize:
            raise MemoryError(f"size={size!r} exceeds the address space")
        self._map(wanted, huge)

    @classmethod
    def from_buffer(cls, obj: HasBuffer) -> SharedMemory:
        """Track memory of another object in place, and keep it alive.

        Args:
            obj: A writable, contiguous buffer that starts and ends on page
                boundaries: an :class:`mmap.mmap`, or an array made on one.

        Raises:
            TypeError: `obj` does not support the buffer protocol.
            BufferError: It is not contiguous, or not writable.
            ValueError: It does not start or end on a page boundary, or is not
                mapped readable and writable throughout.

        Writes through another mapping of the same bytes, or by another
        process, are not seen by any tracker but ``full``.
        """
        memory = cls.__new__(cls)
        memory._borrow(obj)
        return memory

    @property
    def page_size(self) -> int:
        """Bytes in a page."""
        return core.PAGE_SIZE

    @property
    def page_count(self) -> int:
        """Number of pages."""
        return self.size // core.PAGE_SIZE

    def __enter__(self) -> SharedMemory:
        if self.closed:
            raise ValueError("operation on a closed SharedMemory")
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if sys.flags.dev_mode and not self.closed:
            warnings.warn(
                f"unclosed {self!r}",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def __repr__(self) -> str:
        if self.closed:
            return f"<SharedMemory {format_size(self.size)}, closed>"
        return f"<SharedMemory {format_size(self.size)} at {self.address:#x}>"
