"""The limits of sandboxes, both sides of each in one run, interleaved.

Usage: sandbox_limits.py [--driver auto]

Prints a Markdown table like limits.py's. The exit status is 3 if a limit is
missed. Rows without one are for comparison.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from limits import NOISE, microseconds

from hyperlight import Sandbox, SandboxConfig, drivers

MIB = 1 << 20
BUDGET = 1.5  # seconds for one row
CREATIONS = 60

Rows = list[tuple[Any, ...]]


def interleaved(*calls: Callable[[], float]) -> list[list[float]]:
    """Samples of each call, taken in turns until the time is up."""
    for _ in range(30):
        for call in calls:
            call()
    samples: list[list[float]] = [[] for _ in calls]
    deadline = time.monotonic() + BUDGET
    while time.monotonic() < deadline or len(samples[0]) < 5:
        for call, into in zip(calls, samples, strict=True):
            into.append(call())
    return samples


def new(driver: str, **config: Any) -> Sandbox:
    return Sandbox("simple", config=SandboxConfig(driver=driver, **config))


def call_alone(sandbox: Sandbox) -> Callable[[], float]:
    return lambda: microseconds(lambda: sandbox.call("Echo", "hello"))


def with_restore(sandbox: Sandbox) -> Callable[[], float]:
    def both() -> None:
        sandbox.call("Echo", "hello")
        sandbox.restore()

    return lambda: microseconds(both)


def row(
    name: str, one: float, other: float, limit: float | None = None
) -> tuple[Any, ...]:
    ratio = one / other
    if limit is None:
        return name, one, other, ratio, "", None
    kept = ratio <= limit * (1 + NOISE)
    return name, one, other, ratio, f"<= {limit}", kept


def call_rows(driver: str) -> Rows:
    """A call alone, with a restore, and with a full copy."""
    alone, restored = new(driver), new(driver)
    full = new(driver, tracker="full")
    large, large_full = (
        new(driver, heap_size="1GiB"),
        new(driver, heap_size="64MiB", tracker="full"),
    )
    a, b, c, d = map(
        statistics.median,
        interleaved(
            call_alone(alone),
            with_restore(restored),
            with_restore(full),
            with_restore(large),
        ),
    )
    e = statistics.median(interleaved(with_restore(large_full))[0])
    for sandbox in (alone, restored, full, large, large_full):
        sandbox.close()
    return [
        row("call + restore against the call alone, default", b, a, 1.15),
        row("call + restore, 1 GiB heap against default", d, b, 1.2),
        row("call + full copy against call + restore, default", c, b),
        row(
            "call + full copy of 64 MiB against call + restore of 1 GiB", e, d
        ),
    ]


def large_rows(driver: str) -> Rows:
    """A large argument against memcpy of it and the call alone."""
    rows = []
    for size in (1, 4, 16, 64):
        data = bytes(size * MIB)
        sandbox = new(driver, input_size=size * MIB + 4096)
        plain = new(driver)
        source = np.frombuffer(data, dtype=np.uint8)
        to = np.empty_like(source)

        def large(sandbox: Sandbox = sandbox, data: bytes = data) -> float:
            def both() -> None:
                sandbox.call("LargeParameters", data, "")
                sandbox.restore()

            return microseconds(both)

        def copy(to: Any = to, source: Any = source) -> float:
            return microseconds(lambda: np.copyto(to, source))

        one, two, three = map(
            statistics.median, interleaved(large, copy, call_alone(plain))
        )
        rows.append(
            row(
                f"call with {size} MiB + restore against memcpy + call",
                one,
                two + three,
                1.3,
            )
        )
        sandbox.close()
        plain.close()
    return rows


def creation_rows(driver: str) -> Rows:
    """A large heap against the default one."""

    def create(**config: Any) -> Callable[[], float]:
        def made() -> float:
            start = time.perf_counter_ns()
            sandbox = new(driver, **config)
            took = (time.perf_counter_ns() - start) / 1000
            sandbox.close()
            return took

        return made

    small, large = create(), create(heap_size="1GiB")
    samples: tuple[list[float], list[float]] = ([], [])
    for _ in range(CREATIONS):
        samples[0].append(small())
        samples[1].append(large())
    one, other = map(statistics.median, samples)
    return [row("creation, 1 GiB heap against default", other, one, 1.5)]


def python_row(driver: str) -> tuple[Any, ...]:
    """A whole call against the part that is the guest's and the kernel's."""
    sandbox = new(driver)
    opened = sandbox._machine.core  # type: ignore[union-attr]
    function = sandbox._functions["Echo"]
    assert opened is not None

    def inside() -> float:
        opened.begin(function.encoded, function.arguments, ("hello",))
        took = microseconds(lambda: opened.run(0))
        opened.result(function.result)
        return took

    whole, part = map(
        statistics.median, interleaved(call_alone(sandbox), inside)
    )
    sandbox.close()
    share = whole - part
    return (
        "Python's share of a call (µs of the whole)",
        share,
        whole,
        share / whole,
        "<= 5 µs",
        share <= 5,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--driver", default="auto")
    driver = parser.parse_args().driver
    if not any(info.available for info in drivers()):
        print("no driver works here")
        return 0
    print("| what | µs | against | ratio | limit | kept |")
    print("| --- | ---: | ---: | ---: | --- | --- |")
    missed = 0
    rows = [
        *call_rows(driver),
        *large_rows(driver),
        *creation_rows(driver),
        python_row(driver),
    ]
    for name, one, other, ratio, limit, kept in rows:
        word = {True: "yes", False: "NO", None: ""}[kept]
        print(
            f"| {name} | {one:,.1f} | {other:,.1f} | {ratio:,.2f} | {limit} | "
            f"{word} |",
            flush=True,
        )
        missed += kept is False
    return 3 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
