"""Makes what is allocated from now on lie close together.

A restore costs by the page. After an interpreter has imported its modules,
free memory is small holes in nearly every page, and each run would write to a
different page for each size of object. So the holes are filled, once, with
what nobody uses: what is allocated then, by the code that serves requests and
by each run, comes from memory that was never used, in order.

A wrong guess about the allocators costs speed, and nothing else.
"""

from __future__ import annotations

import gc

__all__ = ["pack"]

#: obmalloc's sizes.
_STEP, _LARGEST = 16, 512
#: So many neighbours in order are fresh memory, which is taken only when no
#: hole is left.
_FRESH = 4096
#: Sizes that are malloc's, from above: each fills what the one before left.
_SIZES = [1 << 16, *range(1 << 14, 1 << 12, -1024), *range(4096, 512, -128)]
#: Whatever happens: blocks of obmalloc, and bytes of malloc.
_MOST, _ROOM = 100_000, 8 << 20

#: `bytes` take this much more than they hold.
_HEAD = 33

#: What fills the holes.
_fillers: list[object] = []


def pack() -> None:
    """Fill all holes. Call this once all modules are imported."""
    gc.collect()  # also empties free lists of objects
    _fill_malloc()
    for size in range(_STEP, _LARGEST + 1, _STEP):
        _fill(size)


def _fill(size: int) -> None:
    """Allocate blocks of one size until they come from fresh memory."""
    in_order = last = 0
    while in_order < _FRESH // size and len(_fillers) < _MOST:
        block = _block(size)
        _fillers.append(block)
        # Numbers of this loop may lie between two blocks.
        near = last < id(block) <= last + 4 * size
        in_order = in_order + 1 if near else 0
        last = id(block)


def _block(size: int) -> object:
    if size == 16:
        return object()
    if size == 32:
        return (1 << 40) + len(_fillers)
    return bytes(size - _HEAD)


def _fill_malloc() -> None:
    """Allocate blocks until malloc takes them from the end of its heap."""
    # Below what malloc maps by itself, and larger than most holes.
    large = [bytes(100_000) for _ in range(4)]
    end = max(map(id, large))
    del large
    room = _ROOM
    for size in _SIZES:
        while room > 0:
            block = bytes(size - _HEAD)
            if id(block) >= end:
                break
            _fillers.append(block)
            room -= size
