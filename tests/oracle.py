"""What a manager must equal: full copies, kept in a dict."""

from __future__ import annotations

from hyperlight import PageSet, Snapshot


class NaiveManager:
    """Copies everything each time, and so is never wrong."""

    def __init__(self, memory: memoryview, page_size: int) -> None:
        self.memory = memory
        self.page_size = page_size
        self.copies: dict[int, bytes] = {}  # by Snapshot.id
        self.current: int | None = None

    @property
    def page_count(self) -> int:
        return len(self.memory) // self.page_size

    def take(self, snapshot: Snapshot) -> None:
        self.copies[snapshot.id] = bytes(self.memory)
        self.current = snapshot.id

    def differs(self, key: int) -> PageSet:
        """Pages of memory that are not as in the snapshot with that id."""
        return self.pages_between(bytes(self.memory), self.copies[key])

    def pages_between(self, a: bytes, b: bytes) -> PageSet:
        size = self.page_size
        return PageSet.from_pages(
            self.page_count,
            [
                page
                for page in range(self.page_count)
                if a[page * size : (page + 1) * size]
                != b[page * size : (page + 1) * size]
            ],
        )
