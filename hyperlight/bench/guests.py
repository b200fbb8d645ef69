"""What is asked of sandboxes, with tracking off (before) and on (after)."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from hyperlight import Sandbox, SandboxConfig, drivers

__all__ = [
    "HEAPS",
    "LARGE",
    "Prepare",
    "call",
    "call_and_restore",
    "cells",
    "driver_of",
    "new",
]

MIB = 1 << 20
#: Given a side and a driver, something that measures so many loops.
Prepare = Callable[[str, str], Callable[[int], float]]
HEAPS: dict[str, dict[str, Any]] = {
    "default": {},
    "50mb": {"heap_size": 50 * MIB},
    "500mb": {"heap_size": 500 * MIB},
    "995mb": {"heap_size": 995 * MIB},
}
LARGE: dict[str, Any] = {
    "heap_size": 600 * MIB,
    "input_size": 300 * MIB,
}


def new(side: str, driver: str, **config: Any) -> Sandbox:
    """A sandbox of the guest that ships: ``before`` copies all its memory."""
    tracker = "full" if side == "before" else "auto"
    made = SandboxConfig(driver=driver, tracker=tracker, **config)
    functions = {"HostAdd": lambda a, b: a + b}
    return Sandbox("simple", host_functions=functions, config=made)


def driver_of(wanted: str) -> str:
    """The driver that a sandbox has if this one is wanted."""
    usable = [info.name for info in drivers() if info.available]
    return usable[0] if wanted == "auto" and usable else wanted


def call(sandbox: Sandbox) -> None:
    """The smallest call there is."""
    sandbox.call("Echo", "hello")


def restore(sandbox: Sandbox) -> None:
    """To the base snapshot, or to what is current."""
    sandbox.restore()


def nothing(sandbox: Sandbox) -> None:
    """For what needs no preparation."""


def call_host_function(sandbox: Sandbox) -> None:
    """A call within which the guest calls Python."""
    sandbox.call("Add", 1, 2)


def call_and_restore(sandbox: Sandbox) -> None:
    """What a service does for each request."""
    sandbox.call("Echo", "hello")
    sandbox.restore()


def snapshot(sandbox: Sandbox) -> None:
    """One that is dropped at once."""
    sandbox.snapshot()


Act = Callable[[Sandbox], None]


def measured(timed: Act, before: Act = nothing, **config: Any) -> Prepare:
    """Time `timed`, after `before`, on one sandbox."""

    def prepare(side: str, driver: str) -> Callable[[int], float]:
        made: list[Sandbox] = []

        def run(loops: int) -> float:
            if not made:  # in the worker that measures, and once
                made.append(new(side, driver, **config))
                for _ in range(8):
                    before(made[0])
                    timed(made[0])
            clock, total = time.perf_counter, 0.0
            for _ in range(loops):
                before(made[0])
                start = clock()
                timed(made[0])
                total += clock() - start
            return total

        return run

    return prepare


def creation(**config: Any) -> Prepare:
    """Time making a sandbox, not closing it."""

    def prepare(side: str, driver: str) -> Callable[[int], float]:
        def run(loops: int) -> float:
            clock, total = time.perf_counter, 0.0
            for _ in range(loops):
                start = clock()
                sandbox = new(side, driver, **config)
                total += clock() - start
                sandbox.close()
            return total

        return run

    return prepare


@functools.cache
def payload(size: int) -> tuple[bytes, str]:
    """The two arguments of a large call, made when first asked for."""
    return bytes(size * MIB), "x" * (size * MIB)


def call_large(size: int) -> Act:
    """A call with bytes and text of so many MiB each, and a restore."""

    def act(sandbox: Sandbox) -> None:
        sandbox.call("LargeParameters", *payload(size))
        sandbox.restore()

    return act


def cells() -> dict[str, Prepare]:
    """Everything that is measured of sandboxes, by name."""
    group = "guest_functions"
    made = {
        f"{group}/guest_call": measured(call),
        f"{group}/guest_restore": measured(restore, call),
        f"{group}/guest_call_after_restore": measured(call, restore),
        f"{group}/guest_call_with_restore": measured(call_and_restore),
        f"{group}/guest_call_with_host_function": measured(call_host_function),
    }
    group = "large_parameters/guest_call_restore"
    for size in (5, 20, 60):
        made[f"{group}_{size}mb_params"] = measured(call_large(size), **LARGE)
    for size in (1, 2, 4, 8, 16, 32, 64):
        made[f"{group}_{size}mib_params"] = measured(call_large(size), **LARGE)
    group = "sandbox_heap_sizes"
    for name, config in HEAPS.items():
        made[f"{group}/create_sandbox_{name}_heap"] = creation(**config)
        made[f"{group}/guest_call_restore_{name}_heap"] = measured(
            call_and_restore, **config
        )
        made[f"{group}/snapshot_{name}_heap"] = measured(
            snapshot, call, **config
        )
    return made
