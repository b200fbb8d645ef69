"""The limits of sandboxes."""

from __future__ import annotations

import functools
import gc
import importlib
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hyperlight import Sandbox
from hyperlight.bench.guests import (
    LARGE,
    call,
    call_and_restore,
    new,
    nothing,
    payload,
)
from hyperlight.bench.others import available
from hyperlight.bench.results import Limit
from hyperlight.bench.rows import (
    NOISE,
    Effort,
    Side,
    Turns,
    at_least,
    at_most,
    microseconds,
)

__all__ = ["beside_wasmtime", "rows"]

MIB, GIB = 1 << 20, 1 << 30
GROUP = "sandbox"
CREATIONS = 30
#: 64 MiB of memory, and a function that fills so many bytes of it.
FILLING = """(module (memory 1024) (func (export "fill") (param i32)
  (memory.fill (i32.const 0) (i32.const 1) (local.get 0))))"""


def beside_wasmtime(driver: str, effort: Effort) -> Iterator[Limit]:
    """A call that fills some pages and a restore, beside a new instance."""
    if not available("wasmtime"):
        return
    w: Any = importlib.import_module("wasmtime")
    engine = w.Engine()
    module = w.Module(engine, FILLING)
    for pages in (0, 1, 16, 256, 4096):
        sandbox = _warm(new("after", driver, heap_size=80 * MIB))
        address = sandbox.call("Allocate", 64 * MIB)
        sandbox.snapshot()

        def ours(
            sandbox: Sandbox = sandbox, at: Any = address, n: int = pages
        ) -> None:
            sandbox.call("FillHeap", at, n * 4096, 1)
            sandbox.restore()

        def theirs(n: int = pages) -> None:
            store = w.Store(engine)
            instance = w.Instance(store, module, [])
            instance.exports(store)["fill"](store, n * 4096)

        for _ in range(8):
            ours()
        turns = Turns({"ours": Side(ours), "theirs": Side(theirs)}, effort)
        sandbox.close()
        yield at_least(
            "others",
            f"call that fills {pages} of 64 MiB's pages + restore, beside a "
            f"new wasmtime instance",
            turns.median("ours"),
            turns.median("theirs"),
            1,
            times=1 / turns.ratio("ours", ["theirs"]),
        )


def rows(driver: str, effort: Effort) -> Iterator[Limit]:
    """All of them, on one driver."""
    yield from _calls(driver, effort)
    yield from _large(driver, effort)
    yield from _creation(driver, effort)
    yield _resident(driver)
    yield _python(driver, effort)


def _warm(sandbox: Sandbox) -> Sandbox:
    for _ in range(30):
        call_and_restore(sandbox)
    return sandbox


def _calls(driver: str, effort: Effort) -> Iterator[Limit]:
    """A call alone, with a restore, and with a full copy."""
    # The call alone has a sandbox of its own, where nothing is restored.
    made = {
        "alone": new("after", driver),
        "restored": new("after", driver),
        "full": new("before", driver),
        "large": new("after", driver, heap_size=GIB),
    }
    for sandbox in made.values():
        _warm(sandbox)
    sides = {
        name: Side(
            functools.partial(
                call if name == "alone" else call_and_restore, sandbox
            )
        )
        for name, sandbox in made.items()
    }
    turns = Turns(
        sides, Effort(effort.seconds * 4, effort.fresh, effort.rounds * 4)
    )
    for sandbox in made.values():
        sandbox.close()

    def beside(
        one: str, other: str, what: str, limit: float, noise: float = 0
    ) -> Limit:
        return at_most(
            GROUP,
            what,
            turns.median(one),
            turns.median(other),
            limit,
            ratio=turns.ratio(one, [other]),
            noise=noise,
        )

    yield beside("restored", "alone", "call + restore against the call", 1.15)
    yield beside(
        "large", "restored", "call + restore, 1 GiB heap against default", 1.2
    )
    yield beside(
        "restored", "full", "call + restore against call + full copy", 1, NOISE
    )


def _large(driver: str, effort: Effort) -> Iterator[Limit]:
    """A large argument against memcpy of it and the call alone."""
    for size, text in [(n, False) for n in (1, 4, 16, 64)] + [
        (n, True) for n in (5, 20, 60)
    ]:
        data, letters = payload(size)
        arguments = (data, letters if text else "")
        sandbox = new("after", driver, **LARGE)
        plain = _warm(new("after", driver))
        # Each argument out of memory of its own, and into it.
        copies = [
            (np.empty(len(each), np.uint8), np.frombuffer(each, np.uint8))
            for each in (data, arguments[1].encode())
        ]

        def both(
            sandbox: Sandbox = sandbox, arguments: Any = arguments
        ) -> None:
            sandbox.call("LargeParameters", *arguments)
            sandbox.restore()

        def memcpy(copies: Any = copies) -> None:
            for to, source in copies:
                np.copyto(to, source)

        both()
        memcpy()
        turns = Turns(
            {
                "both": Side(both),
                "memcpy": Side(memcpy),
                "call": Side(functools.partial(call, plain)),
            },
            effort,
        )
        sandbox.close()
        plain.close()
        yield at_most(
            GROUP,
            f"call with {size} MiB of bytes{' and of text' if text else ''} + "
            f"restore against memcpy + call",
            turns.median("both"),
            turns.total(("memcpy", "call")),
            1.3,
            ratio=turns.ratio("both", ("memcpy", "call")),
        )


def _creation(driver: str, effort: Effort) -> Iterator[Limit]:
    """A large heap against the default one."""

    def creating(**config: Any) -> Callable[[], float]:
        def create() -> float:
            made: list[Sandbox] = []
            took = microseconds(
                lambda: made.append(new("after", driver, **config))
            )
            made[0].close()
            return took

        return create

    small, large = creating(), creating(heap_size=GIB)
    pairs = [(large(), small()) for _ in range(CREATIONS * effort.fresh)]
    yield at_most(
        GROUP,
        "creation, 1 GiB heap against default",
        statistics.median(one for one, _ in pairs),
        statistics.median(other for _, other in pairs),
        1.5,
        ratio=statistics.median(one / other for one, other in pairs),
    )


def _resident_bytes() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) << 10
    return 0


def _resident(driver: str) -> Limit:
    """What a large heap takes once a part of it was touched."""
    touched = 64 * MIB
    gc.collect()
    before = _resident_bytes()
    with new("after", driver, heap_size=GIB) as sandbox:
        address = sandbox.call("Allocate", touched)
        sandbox.call("FillHeap", address, touched, 1)
        resident = _resident_bytes() - before
    return at_most(
        "memory",
        "resident bytes of a 1 GiB heap, 64 MiB touched",
        resident,
        touched,
        1.1,
        unit="bytes",
    )


def _python(driver: str, effort: Effort) -> Limit:
    """A whole call without the part that is the guest's and the kernel's."""
    sandbox = _warm(new("after", driver))
    machine, function = sandbox._machine, sandbox._functions["Echo"]
    assert machine is not None
    whole: list[float] = []
    inside: list[float] = []
    empty: list[float] = []
    for _ in range(int(8000 * effort.seconds)):
        whole.append(microseconds(lambda: call(sandbox)))
        took = machine.core.time_of_run(sandbox._token, function, ("hello",))
        inside.append(took / 1000)
        empty.append(microseconds(lambda: nothing(sandbox)))
    sandbox.close()
    entire = statistics.median(whole) - statistics.median(empty)
    share = entire - statistics.median(inside)
    return Limit(
        group=GROUP,
        what="Python's share of a call, beside all of it",
        value=share,
        unit="µs",
        against=entire,
        ratio=share / entire,
        limit="<= 1.5 µs",
        kept=share <= 1.5,
    )
