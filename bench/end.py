"""How late a guest that spins is ended: by a deadline, by interrupt().

`end/...` is the time from when it was due until the call has raised. A limit
of 10 ms is asked for. The caller's thread has its signals as they are, or all
of them blocked.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

from bench import runner
from hyperlight import (
    GuestInterrupted,
    GuestTimeout,
    Sandbox,
    SandboxConfig,
    drivers,
)

DUE = 0.005  # seconds after the guest began


def timeout(sandbox: Sandbox) -> float:
    due = time.perf_counter() + DUE
    try:
        sandbox.call("Spin", timeout=DUE)
    except GuestTimeout:
        return time.perf_counter() - due
    raise RuntimeError("it ended by itself")


def interrupt(sandbox: Sandbox) -> float:
    due = 0.0

    def later() -> None:
        nonlocal due
        time.sleep(DUE)
        due = time.perf_counter()
        sandbox.interrupt()

    thread = threading.Thread(target=later)
    thread.start()
    try:
        sandbox.call("Spin")
    except GuestInterrupted:
        late = time.perf_counter() - due
    thread.join()
    return late


def timed(
    driver: str, end: Callable[[Sandbox], float], blocked: bool
) -> Callable[[int], float]:
    """A function for bench_time_func, in a thread's own signal mask."""

    def run(loops: int) -> float:
        signals = signal.valid_signals() if blocked else ()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        total = 0.0
        with Sandbox("simple", config=SandboxConfig(driver=driver)) as sandbox:
            for _ in range(loops):
                total += end(sandbox)
                sandbox.restore()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return total

    return run


def main() -> None:
    made = runner("end")
    for info in drivers():
        if not info.available:
            continue
        for end in (timeout, interrupt):
            for blocked in (False, True):
                mask = "blocked" if blocked else "open"
                made.bench_time_func(
                    f"end/{info.name}_{end.__name__}_{mask}",
                    timed(info.name, end, blocked),
                )


if __name__ == "__main__":
    main()
