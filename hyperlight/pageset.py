"""Sets of page numbers."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import SupportsIndex

from hyperlight._binding import core

__all__ = ["PageSet"]

_MOST_PAGES = 1 << 52  # of the smallest size, in 64 bits of address


class PageSet:
    """An immutable set of page numbers, backed by a bitmap.

    Supports ``len``, ``in``, iteration (ascending), ``==``, ``hash``, and
    ``|``, ``&``, ``-``, ``^`` with a set over the same number of pages. Made
    by :meth:`from_pages`, :meth:`from_bytes` and methods that report pages.
    """

    __slots__ = ("_bits", "_count", "page_count")

    #: Pages that the set is drawn from: 0 to ``page_count - 1``.
    page_count: int

    _bits: bytes  # whole 64-bit words, little-endian, bits past the end clear
    _count: int | None

    def __init__(self) -> None:
        raise TypeError("use PageSet.from_pages or PageSet.from_bytes")

    @classmethod
    def from_pages(
        cls, page_count: SupportsIndex, pages: Iterable[SupportsIndex]
    ) -> PageSet:
        """The set of `pages`, out of `page_count`.

        Raises:
            IndexError: A page is not in ``0 .. page_count - 1``.
            TypeError: A page is not a whole number.
            ValueError: `page_count` is negative.
            MemoryError: It is larger than any memory.
        """
        total = _page_count(page_count)
        return cls._wrap(core.bits_of_pages(total, pages), total)

    @classmethod
    def from_bytes(cls, page_count: SupportsIndex, data: bytes) -> PageSet:
        """The set of a little-endian bitmap, as :meth:`to_bytes` writes it.

        Args:
            page_count: Pages that the set is drawn from.
            data: ``ceil(page_count / 8)`` bytes; bit ``i % 8`` of byte
                ``i // 8`` stands for page ``i``.

        Raises:
            ValueError: `data` has another length, or bits past the end set.
        """
        total = _page_count(page_count)
        raw = bytes(memoryview(data))
        if len(raw) != (total + 7) // 8:
            raise ValueError(
                f"data has {len(raw)} bytes: {total} pages take "
                f"{(total + 7) // 8}"
            )
        if total % 8 and raw[-1] >> total % 8:
            raise ValueError(f"data has bits set past page {total - 1}")
        return cls._wrap(raw.ljust((total + 63) // 64 * 8, b"\0"), total)

    @classmethod
    def _wrap(cls, bits: bytes, page_count: int) -> PageSet:
        made = object.__new__(cls)
        made._bits = bits
        made._count = None
        made.page_count = page_count
        return made

    def to_bytes(self) -> bytes:
        """The little-endian bitmap: ``ceil(page_count / 8)`` bytes."""
        return self._bits[: (self.page_count + 7) // 8]

    def runs(self) -> list[tuple[int, int]]:
        """``[(first, count), ...]``: maximal runs, ascending."""
        return core.bits_runs(self._bits, self.page_count)

    def __len__(self) -> int:
        if self._count is None:
            self._count = core.bits_count(self._bits, self.page_count)
        return self._count

    def __iter__(self) -> Iterator[int]:
        for first, count in self.runs():
            yield from range(first, first + count)

    def __contains__(self, page: object) -> bool:
        try:
            number = operator.index(page)  # type: ignore[arg-type]
        except TypeError:
            return False
        if not 0 <= number < self.page_count:
            return False
        return bool(self._bits[number // 8] >> number % 8 & 1)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PageSet):
            return NotImplemented
        return (
            self.page_count == other.page_count and self._bits == other._bits
        )

    def __hash__(self) -> int:
        return hash((self.page_count, self._bits))

    def __or__(self, other: PageSet) -> PageSet:
        return self._combine(other, core.UNION)

    def __and__(self, other: PageSet) -> PageSet:
        return self._combine(other, core.INTERSECTION)

    def __xor__(self, other: PageSet) -> PageSet:
        return self._combine(other, core.SYMMETRIC_DIFFERENCE)

    def __sub__(self, other: PageSet) -> PageSet:
        return self._combine(other, core.DIFFERENCE)

    def _combine(self, other: PageSet, operation: int) -> PageSet:
        if not isinstance(other, PageSet):
            return NotImplemented
        if other.page_count != self.page_count:
            raise ValueError(
                f"sets over {self.page_count} and {other.page_count} pages "
                f"cannot be combined"
            )
        bits = core.bits_combine(self._bits, other._bits, operation)
        return self._wrap(bits, self.page_count)

    def __reduce__(self) -> tuple[object, ...]:
        return PageSet.from_bytes, (self.page_count, self.to_bytes())

    def __repr__(self) -> str:
        runs = self.runs()
        shown = ", ".join(
            str(first) if count == 1 else f"{first}-{first + count - 1}"
            for first, count in runs[:6]
        )
        more = ", ..." if len(runs) > 6 else ""
        return (
            f"<PageSet {len(self)} of {self.page_count} pages: "
            f"{{{shown}{more}}}>"
        )


def _page_count(page_count: SupportsIndex) -> int:
    total = operator.index(page_count)
    if total < 0:
        raise ValueError(f"page_count={total} is negative")
    if total > _MOST_PAGES:
        raise MemoryError(f"page_count={total} is more than there can be")
    return total
