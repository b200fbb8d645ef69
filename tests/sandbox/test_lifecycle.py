"""The life of a sandbox: load, evolve, devolve, close, fork."""

from __future__ import annotations

import os
import struct
import threading
import time
from pathlib import Path

import pytest
import tiny
from conftest import (
    wait_until_it_spins,
)

import hyperlight
from hyperlight import (
    DriverUnavailable,
    GuestAborted,
    GuestTimeout,
    LayoutError,
    Sandbox,
    SandboxConfig,
    UninitializedSandbox,
)


def test_evolve_and_devolve(driver: str) -> None:
    config = SandboxConfig(driver=driver)
    fresh = UninitializedSandbox("simple", config)
    fresh.register("HostAdd", lambda a, b: a + b)
    assert "UninitializedSandbox" in repr(fresh)
    assert fresh.layout["heap"].size == 128 << 10
    assert fresh.driver == driver
    sandbox = fresh.evolve(lambda s: s.call("Counter"))
    assert fresh.closed
    with pytest.raises(ValueError, match="evolved"):
        fresh.evolve()
    assert sandbox.call("Counter") == 2
    sandbox.restore(sandbox.base)
    assert sandbox.call("GetCounter") == 1
    again = sandbox.devolve()
    assert sandbox.closed
    with pytest.raises(ValueError, match="closed"):
        sandbox.call("Counter")
    with again.evolve() as sandbox:
        assert sandbox.call("GetCounter") == 0
        assert sandbox.call("Add", 20, 22) == 42
        with pytest.raises(GuestAborted):
            sandbox.call("Fault", "undefined")
        with sandbox.devolve() as again:  # poisoned or not
            assert not again.closed


def test_evolve_that_fails_can_be_repeated(driver: str) -> None:
    fresh = UninitializedSandbox("simple", SandboxConfig(driver=driver))

    def fails(sandbox: Sandbox) -> None:
        sandbox.call("Counter")
        raise LookupError

    with fresh:
        with pytest.raises(LookupError):
            fresh.evolve(fails)
        with fresh.evolve() as sandbox:
            assert sandbox.call("GetCounter") == 0


def test_only_one_thread_evolves(driver: str) -> None:
    fresh = UninitializedSandbox("simple", SandboxConfig(driver=driver))
    made: list[Sandbox] = []
    refused: list[Exception] = []
    start = threading.Barrier(4)

    def evolve() -> None:
        start.wait()
        try:
            made.append(fresh.evolve(lambda s: time.sleep(0.05)))
        except (RuntimeError, ValueError) as error:  # being, was evolved
            refused.append(error)

    threads = [threading.Thread(target=evolve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 3)
    with made[0] as sandbox:
        assert sandbox.call("Counter") == 1


def test_a_call_that_waited_for_a_devolve_is_refused(driver: str) -> None:
    """Or comes first; but never runs in what has become another's."""
    inside, go_on = threading.Event(), threading.Event()

    def wait(a: int, b: int) -> int:
        inside.set()
        go_on.wait()
        return a + b

    sandbox = Sandbox(
        "simple",
        host_functions={"HostAdd": wait},
        config=SandboxConfig(driver=driver),
    )
    outcomes: list[object] = []
    fresh: list[UninitializedSandbox] = []

    def call() -> None:
        try:
            outcomes.append(sandbox.call("Counter"))
        except ValueError as error:
            outcomes.append(str(error))

    threads = [
        threading.Thread(target=sandbox.call, args=("Add", 1, 2)),
        threading.Thread(target=lambda: fresh.append(sandbox.devolve())),
        *(threading.Thread(target=call) for _ in range(4)),
    ]
    threads[0].start()
    inside.wait()
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join()
    closed = "operation on a closed Sandbox"
    counts = sorted(o for o in outcomes if isinstance(o, int))
    assert counts == list(range(1, len(counts) + 1))
    assert outcomes.count(closed) == 4 - len(counts)
    with fresh[0].evolve() as again:
        assert again.call("Counter") == 1
    machine = sandbox._machine
    assert machine is not None
    function = sandbox._functions["Counter"]
    for use in (
        lambda: machine.call(sandbox._token, function, (), None),
        lambda: machine.take(sandbox._token, None),
    ):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_use_after_close(driver: str) -> None:
    sandbox = Sandbox("simple", config=SandboxConfig(driver=driver))
    snapshot = sandbox.snapshot()
    sandbox.close()
    sandbox.close()
    assert sandbox.closed
    assert repr(sandbox) == "<Sandbox, closed>"
    for use in (
        lambda: sandbox.call("Nothing"),
        sandbox.snapshot,
        sandbox.restore,
        sandbox.devolve,
        sandbox.verify,
        sandbox.changed,
        lambda: sandbox.layout,
        lambda: sandbox.driver,
        lambda: sandbox.tracker,
        lambda: sandbox.functions,
        lambda: sandbox.poisoned,
        lambda: sandbox.stats,
        lambda: sandbox.base,
        lambda: sandbox.current,
        sandbox.__enter__,
        lambda: sandbox.transaction().__enter__(),
    ):
        with pytest.raises(ValueError, match="closed"):
            use()
    sandbox.interrupt()
    assert snapshot.page_count > 0
    assert len(snapshot.read(0, 100)) == 100


def test_close_waits_for_a_call(driver: str) -> None:
    sandbox = Sandbox("simple", config=SandboxConfig(driver=driver))
    ended: list[BaseException] = []

    def spin() -> None:
        try:
            sandbox.call("Spin", timeout=0.5)
        except GuestTimeout as error:
            ended.append(error)

    thread = threading.Thread(target=spin)
    begun = time.monotonic()
    thread.start()
    wait_until_it_spins(thread)
    sandbox.close()
    assert time.monotonic() - begun >= 0.5
    thread.join()
    assert ended


def test_what_is_no_guest(tmp_path: Path, driver: str) -> None:
    config = SandboxConfig(driver=driver)
    for data in (b"", b"\x7fELF", b"#!/bin/sh\n", bytes(10000)):
        with pytest.raises(ValueError, match="not a guest"):
            Sandbox(data, config=config)
    with pytest.raises(
        FileNotFoundError, match=r"nor a shipped guest: .*simp"
    ):
        Sandbox(tmp_path / "nix", config=config)
    with pytest.raises(TypeError, match="guest="):
        Sandbox(5, config=config)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="config="):
        Sandbox("simple", config="large")  # type: ignore[arg-type]
    with pytest.raises((IsADirectoryError, PermissionError)):
        Sandbox(tmp_path, config=config)
    with pytest.raises(ValueError, match="linked dynamically"):
        Sandbox("/proc/self/exe", config=config)
    low = tiny.elf(b"\x0f\x0b")
    low = low[:80] + struct.pack("<QQ", 0x1000, 0x1000) + low[96:]
    with pytest.raises((ValueError, LayoutError)):
        Sandbox(low, config=config)


def test_a_guest_of_my_own_wins_over_one_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("simple").write_bytes(b"mine")
    with pytest.raises(ValueError, match="not a guest"):
        Sandbox("simple", config=SandboxConfig(driver=driver))


def test_drivers_say_why() -> None:
    for info in hyperlight.drivers():
        assert info.available == (info.reason == "")
    for name in ("kvm", "emulator"):
        require = next(i for i in hyperlight.drivers() if i.name == name)
        if require.available:
            continue
        with pytest.raises(DriverUnavailable) as caught:
            Sandbox("simple", config=SandboxConfig(driver=name))
        assert caught.value.driver == name
        assert require.reason in str(caught.value)


def test_fork(driver: str) -> None:
    sandbox = Sandbox("simple", config=SandboxConfig(driver=driver))
    sandbox.call("Counter")
    pid = os.fork()
    if pid == 0:
        try:
            for use in (lambda: sandbox.call("Counter"), sandbox.restore,
                        sandbox.snapshot):  # fmt: skip
                with pytest.raises((ValueError, OSError)):
                    use()
            sandbox.close()
            with Sandbox("simple", config=SandboxConfig(driver=driver)) as own:
                assert own.call("Counter") == 1
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert sandbox.call("Counter") == 2
    sandbox.close()
