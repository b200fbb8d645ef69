"""Calls, restores, snapshots and creations of sandboxes, for each driver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyperf
from grid import runner

from hyperlight import Sandbox, SandboxConfig, drivers


def timed(
    driver: str, measured: Callable[[Sandbox], Any], **config: Any
) -> Callable[[int], float]:
    """A function for bench_time_func; the sandbox is made inside."""

    def run(loops: int) -> float:
        made = SandboxConfig(driver=driver, **config)
        with Sandbox(
            "simple",
            config=made,
            host_functions={"HostAdd": lambda a, b: a + b},
        ) as sandbox:
            for _ in range(20):
                measured(sandbox)
            start = pyperf.perf_counter()
            for _ in range(loops):
                measured(sandbox)
            return pyperf.perf_counter() - start

    return run


def creation(driver: str, **config: Any) -> Callable[[int], float]:
    def run(loops: int) -> float:
        made = SandboxConfig(driver=driver, **config)
        total = 0.0
        for _ in range(loops):
            start = pyperf.perf_counter()
            sandbox = Sandbox("simple", config=made)
            total += pyperf.perf_counter() - start
            sandbox.close()
        return total

    return run


def call_and_restore(sandbox: Sandbox) -> None:
    sandbox.call("Echo", "hello")
    sandbox.restore()


MEASURED: dict[str, Callable[[Sandbox], Any]] = {
    "guest_call": lambda sandbox: sandbox.call("Echo", "hello"),
    "guest_call_with_restore": call_and_restore,
    "guest_restore": lambda sandbox: sandbox.restore(),
    "guest_call_with_host_function": lambda s: s.call("Add", 1, 2),
    "guest_snapshot": lambda sandbox: sandbox.snapshot(),
}


def main() -> None:
    made = runner("sandbox")
    for info in drivers():
        if not info.available:
            continue
        for name, measured in MEASURED.items():
            made.bench_time_func(
                f"{info.name}/{name}", timed(info.name, measured)
            )
        for tracker in ("auto", "full"):
            made.bench_time_func(
                f"{info.name}/guest_call_with_restore/64MiB/{tracker}",
                timed(
                    info.name,
                    call_and_restore,
                    heap_size="64MiB",
                    tracker=tracker,
                ),
            )
        for heap in ("128KiB", "1GiB"):
            made.bench_time_func(
                f"{info.name}/create_sandbox/{heap}",
                creation(info.name, heap_size=heap),
            )


if __name__ == "__main__":
    main()
