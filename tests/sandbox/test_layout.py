"""MemoryLayout: regions, gaps, what cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperlight import LayoutError, MemoryLayout, Region, SandboxConfig
from hyperlight._binding import core
from hyperlight.sandbox.layout import plan

PAGE = 4096
MIB = 1 << 20
GIB = 1 << 30


def region(name: str, first: int, pages: int, access: str = "rw-") -> Region:
    return Region(name, first * PAGE, pages * PAGE, access, "tracked")


def facts(**changes: Any) -> dict[str, Any]:
    low = 0x400000
    return {
        "pie": False,
        "entry": low,
        "low": low,
        "high": low + 4 * PAGE,
        "writable": low + 3 * PAGE,
        "tls_size": 0,
        "tls_align": 1,
        "segments": [
            (low, PAGE, 5),
            (low + 2 * PAGE, PAGE, 1),
            (low + 3 * PAGE, PAGE, 3),
        ],
        **changes,
    }


def test_regions_are_sorted_and_found() -> None:
    layout = MemoryLayout([region("b", 9, 2), region("a", 3, 4)])
    assert [r.name for r in layout] == ["a", "b"]
    assert layout["a"].end == 7 * PAGE
    assert layout.find(6 * PAGE + 5) is layout["a"]
    assert layout.find(7 * PAGE) is None  # a gap
    assert layout.find(2**60) is None
    assert 8 * PAGE not in layout["a"]
    assert "x" not in layout["a"]
    assert len(layout) == 2
    assert layout.size == 6 * PAGE
    assert layout.tracked == layout.regions
    assert layout == MemoryLayout(reversed(layout.regions))
    assert hash(layout) == hash(MemoryLayout(layout.regions))
    assert layout != MemoryLayout([region("a", 3, 4)])
    assert layout != 5
    assert "2 regions" in repr(layout)


@pytest.mark.parametrize(
    ("regions", "why"),
    [
        ([region("a", 1, 2), region("b", 2, 1)], "overlaps 'b'"),
        ([region("a", 1, 2), region("b", 1, 2)], "overlaps"),
        ([region("a", 1, 5), region("b", 2, 1)], "overlaps"),
        ([region("a", 1, 1), region("a", 2, 1)], "same name"),
        ([region("a", 1, 0)], "is empty"),
        ([region("a", 1, -1)], "is empty"),
        ([Region("a", 7, PAGE, "rw-", "tracked")], "whole pages"),
        ([Region("a", 0, 100, "rw-", "tracked")], "whole pages"),
        ([Region("a", -PAGE, PAGE, "rw-", "tracked")], "reach up to"),
        ([region("a", 2**35, 1)], "reach up to"),
        ([region("a", 2**35 - 1, 2)], "reach up to"),
        ([region("a", 1, 1, "rwx")], "both writable and executable"),
        ([region("a", 1, 1, "-wx")], "both writable and executable"),
        ([region("a", 1, 1, "abc")], "bad permissions"),
        ([region("a", 1, 1, "r")], "bad permissions"),
    ],
)
def test_what_cannot_be(regions: list[Region], why: str) -> None:
    with pytest.raises(LayoutError, match=why):
        MemoryLayout(regions)


def test_touching_is_no_overlap() -> None:
    assert len(MemoryLayout([region("a", 1, 2), region("b", 3, 1)])) == 2


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10))))
def test_overlaps_are_found(spans: list[tuple[int, int]]) -> None:
    pages: list[int] = [
        page for first, count in spans for page in range(first, first + count)
    ]
    regions = [region(str(i), *span) for i, span in enumerate(spans)]
    if len(set(pages)) == len(pages):
        assert MemoryLayout(regions).size == len(pages) * PAGE
    else:
        with pytest.raises(LayoutError):
            MemoryLayout(regions)


def test_table() -> None:
    planned = plan(facts(), SandboxConfig())
    lines = str(planned.layout).splitlines()
    assert lines[0].split() == ["region", "address", "size", "access", "kind"]
    assert lines[2].split() == ["code", "0x400000", "4", "KiB", "r-x",
                                "read-only"]  # fmt: skip
    assert [line.split()[0] for line in lines[1:]] == [
        *("tables", "code", "rodata", "data", "thread", "stack", "heap"),
        *("output", "input"),
    ]


sizes = st.integers(1, 8 * GIB)


@given(sizes, sizes, sizes, sizes, st.booleans())
def test_any_sizes_give_a_sound_plan(
    heap: int, stack: int, input_: int, output: int, pie: bool
) -> None:
    config = SandboxConfig(
        heap_size=heap,
        stack_size=max(stack, 8192),
        input_size=input_,
        output_size=output,
    )
    planned = plan(facts(pie=pie), config)
    layout = planned.layout  # its regions do not overlap
    assert layout["heap"].size >= heap
    assert layout["output"].size >= output
    assert layout["input"].permissions == "r--"
    for name in ("stack", "heap", "output", "input"):
        assert layout.find(layout[name].address - 1) is None
    # Every region lies in one slot, and slots keep to what is theirs.
    spans = [(a, a + s) for a, s, _ in planned.slots]
    for r in layout:
        assert any(a <= r.address and r.end <= end for a, end in spans), r
    for start, end in spans:
        assert start % PAGE == 0
        assert end > start
        assert end <= 3 * GIB or start >= 4 * GIB
    for one, other in zip(sorted(spans), sorted(spans)[1:], strict=False):
        assert one[1] <= other[0]
    logged = [span for span, s in zip(spans, planned.slots, strict=True)
              if s[2]]  # fmt: skip
    for r in layout:
        inside = any(a <= r.address and r.end <= end for a, end in logged)
        assert inside == (r.kind == "tracked" or r.name == "output"), r


def test_thread_local_data_has_room() -> None:
    planned = plan(
        facts(tls_size=3 * PAGE + 1, tls_align=4096), SandboxConfig()
    )
    assert planned.layout["thread"].size >= 3 * PAGE + 1 + 4096 + 512


def test_everything_read_only() -> None:
    low = 0x400000
    planned = plan(
        facts(high=low + PAGE, writable=low + PAGE, segments=[(low, PAGE, 5)]),
        SandboxConfig(),
    )
    assert [r.name for r in planned.layout.tracked] == [
        *("thread", "stack", "heap"),
    ]


def test_everything_from_the_first_page_on_is_written() -> None:
    low = 0x400000
    segments = [(low, PAGE, 3), (low + PAGE, PAGE, 5)]
    planned = plan(
        facts(high=low + 2 * PAGE, writable=low, segments=segments),
        SandboxConfig(),
    )
    assert planned.layout["code"].kind == "tracked"
    assert all(size > 0 for _, size, _ in planned.slots)


@pytest.mark.parametrize(
    "changes",
    [
        {"low": 0x1000, "high": 0x5000},
        {"low": 3 * GIB, "high": 3 * GIB + PAGE},
    ],
)
def test_an_image_out_of_place_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(LayoutError, match="image"):
        plan(facts(**changes), SandboxConfig())


def test_a_heap_beyond_the_page_tables_is_refused() -> None:
    with pytest.raises(LayoutError, match="page tables"):
        plan(facts(), SandboxConfig(heap_size="2TiB"))


@pytest.mark.parametrize(
    ("argument", "value", "why"),
    [
        ("heap_size", 0, "heap_size"),
        ("heap_size", -5, "heap_size"),
        ("heap_size", "many", "heap_size"),
        ("heap_size", 2**60, "must be"),
        ("stack_size", 4096, "must be 8 KiB"),
        ("driver", "vmware", "valid are 'auto', 'kvm'"),
        ("tracker", "magic", "valid are 'auto', 'kvm-ring'"),
        ("rearm", "never", "valid are"),
        ("call_timeout", 0, "not above 0"),
        ("call_timeout", float("nan"), "not above 0"),
    ],
)
def test_config_refuses(argument: str, value: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        SandboxConfig(**{argument: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("argument", ["heap_size", "call_timeout"])
def test_config_refuses_types(argument: str) -> None:
    with pytest.raises(TypeError, match=argument):
        SandboxConfig(**{argument: [1]})  # type: ignore[arg-type]


def test_config_rounds_and_prints() -> None:
    config = SandboxConfig(heap_size=5000, input_size="1MiB")
    assert config.heap_size == 8192
    assert config.input_size == MIB
    assert "heap 8 KiB" in str(config)


def test_tables_of_nothing_have_a_size() -> None:
    """An empty list is no error of its own."""
    assert core.tables_size(1 << 20, []) >= core.PAGE_SIZE
