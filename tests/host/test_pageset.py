"""PageSet against Python's own sets."""

from __future__ import annotations

import itertools
import operator
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperlight import PageSet


@st.composite
def sets(draw: st.DrawFn, count: int = 1) -> tuple[int, list[set[int]]]:
    total = draw(st.integers(0, 300))
    pages = st.integers(0, total - 1) if total else st.nothing()
    return total, [draw(st.sets(pages)) for _ in range(count)]


@given(sets())
def test_is_a_set(made: tuple[int, list[set[int]]]) -> None:
    total, [pages] = made
    found = PageSet.from_pages(total, pages)
    assert len(found) == len(pages)
    assert list(found) == sorted(pages)
    assert all((page in found) == (page in pages) for page in range(-2, 310))
    assert found.page_count == total
    assert bool(found) == bool(pages)
    runs = found.runs()
    assert all(count > 0 for _, count in runs)
    assert all(a + n < b for (a, n), (b, _) in itertools.pairwise(runs))
    assert {p for a, n in runs for p in range(a, a + n)} == pages


@given(sets())
def test_bytes(made: tuple[int, list[set[int]]]) -> None:
    total, [pages] = made
    found = PageSet.from_pages(total, pages)
    data = found.to_bytes()
    assert len(data) == (total + 7) // 8
    assert int.from_bytes(data, "little") == sum(1 << page for page in pages)
    again = PageSet.from_bytes(total, data)
    assert again == found
    assert hash(again) == hash(found)
    assert pickle.loads(pickle.dumps(found)) == found


@given(sets(2))
def test_combinations(made: tuple[int, list[set[int]]]) -> None:
    total, [a, b] = made
    one, two = PageSet.from_pages(total, a), PageSet.from_pages(total, b)
    for how in (operator.or_, operator.and_, operator.sub, operator.xor):
        assert set(how(one, two)) == how(a, b)
        assert len(how(one, two)) == len(how(a, b))
    assert (one == two) == (a == b)


def test_other_sizes_do_not_mix() -> None:
    one, two = PageSet.from_pages(5, [1]), PageSet.from_pages(6, [1])
    assert one != two
    assert one != {1}
    for how in (operator.or_, operator.and_, operator.sub, operator.xor):
        with pytest.raises(ValueError, match="5 and 6 pages"):
            how(one, two)
        with pytest.raises(TypeError):
            how(one, {1})


@pytest.mark.parametrize("page", [-1, 5, 2**64, -(2**64)])
def test_pages_outside(page: int) -> None:
    with pytest.raises(IndexError, match=r"0\.\.4"):
        PageSet.from_pages(5, [page])
    assert page not in PageSet.from_pages(5, [1])


def test_pages_that_are_none() -> None:
    for bad in (3.9, "3", None, [3]):
        with pytest.raises(TypeError):
            PageSet.from_pages(5, [bad])  # type: ignore[list-item]
    with pytest.raises(IndexError, match="page 0 is not in a set over no"):
        PageSet.from_pages(0, [0])
    for huge in (2**60, 2**64 - 1, 2**64):
        with pytest.raises(MemoryError):
            PageSet.from_pages(huge, [])


def test_large_sets() -> None:
    """Those that are worked on without the GIL."""
    total = 5_000_000
    odd = PageSet.from_pages(total, range(1, total, 1000))
    tens = PageSet.from_pages(total, range(0, total, 10))
    assert len(odd) == 5000
    assert len(odd | tens) == 5000 + 500_000
    assert not odd & tens
    assert odd - tens == odd
    assert (odd ^ tens) == (odd | tens)
    assert len(tens.runs()) == 500_000
    assert tens.runs()[-1] == (total - 10, 1)


def test_bad_bytes() -> None:
    with pytest.raises(ValueError, match="2 bytes"):
        PageSet.from_bytes(5, b"\0\0")
    with pytest.raises(ValueError, match="past page 4"):
        PageSet.from_bytes(5, b"\x20")
    with pytest.raises(ValueError, match="negative"):
        PageSet.from_bytes(-1, b"")
    with pytest.raises(TypeError):
        PageSet.from_bytes(5, 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        PageSet.from_pages("5", [])  # type: ignore[arg-type]


def test_made_by_its_own_methods_only() -> None:
    with pytest.raises(TypeError, match="from_pages"):
        PageSet()


def test_repr() -> None:
    pages = PageSet.from_pages(100, [1, 2, 3, 7, *range(20, 40, 2)])
    assert repr(pages) == (
        "<PageSet 14 of 100 pages: {1-3, 7, 20, 22, 24, 26, ...}>"
    )
    assert "x" not in pages
    assert 2.0 not in pages
