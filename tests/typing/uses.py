"""What users write, with the types that they are promised.

Each ``type: ignore`` stands where a checker has to complain: one that is not
needed is an error, too.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import array
import mmap
from typing import Literal

import numpy
from numpy.typing import NDArray
from typing_extensions import assert_type

import hyperlight
from hyperlight import (
    Completed,
    DriverInfo,
    FaultHandlerInfo,
    Files,
    ManagerStats,
    PageSet,
    Program,
    ProgramSandbox,
    PythonError,
    PythonResult,
    PythonSandbox,
    Region,
    RestoreStats,
    RunStats,
    Sandbox,
    SandboxConfig,
    SandboxStats,
    SharedMemory,
    Snapshot,
    SnapshotManager,
    TrackerInfo,
    UninitializedSandbox,
)


def memory() -> None:
    with SharedMemory("64MiB", hugepages=True) as made:
        assert_type(made, SharedMemory)
        assert_type(made.size, int)
        assert_type(made.page_count, int)
        assert_type(made.address, int)
        assert_type(made.closed, bool)
        assert_type(made.read(0, 5), bytes)
        made.write(0, b"bytes")
        made.write(0, bytearray(5))
        made.write(0, array.array("d", [1.5]))
        made.write(0, numpy.zeros(5))
        made.write(0, "text")  # type: ignore[arg-type]
        made.fill(0, 5, 1)
        view = memoryview(made)
        view[0] = 1
        words = numpy.frombuffer(view, numpy.uint64)
        assert_type(words, NDArray[numpy.uint64])
    assert_type(SharedMemory.from_buffer(mmap.mmap(-1, 4096)), SharedMemory)
    SharedMemory("1GiB", hugepages="auto")
    SharedMemory.from_buffer(5)  # type: ignore[arg-type]
    SharedMemory(1.5)  # type: ignore[arg-type]
    SharedMemory(1, hugepages="yes")  # type: ignore[arg-type]


def manager(made: SharedMemory) -> None:
    with SnapshotManager(made, tracker="auto", rearm="always") as manager:
        snapshot = manager.take("name")
        assert_type(snapshot, Snapshot)
        assert_type(snapshot.name, str | None)
        assert_type(snapshot.parent, Snapshot | None)
        assert_type(snapshot.nbytes, int)
        assert_type(snapshot.diff(snapshot), PageSet)
        assert_type(manager.restore(), RestoreStats)
        assert_type(manager.restore(snapshot).bytes, int)
        assert_type(manager.current, Snapshot | None)
        assert_type(manager.push(), Snapshot)
        assert_type(manager.pop(), RestoreStats)
        assert_type(manager.dirty() | manager.changed(), PageSet)
        assert_type(manager.tracker, str)
        assert_type(manager.stats, ManagerStats)
        assert_type(manager.stats["pages_copied"], int)
        assert_type(manager.stats["rearm"], Literal["adaptive", "always"])
        assert_type(manager.stats["passed_over"], dict[str, str])
        manager.stats["driver"]  # type: ignore[typeddict-item]
        manager.verify(snapshot)
    SnapshotManager(b"bytes")  # type: ignore[arg-type]
    SnapshotManager(made, rearm="never")  # type: ignore[arg-type]


def pages() -> None:
    made = PageSet.from_pages(8, [1, 2])
    assert_type(made.runs(), list[tuple[int, int]])
    assert_type(list(made), list[int])
    assert_type(made - made, PageSet)
    assert_type(made.to_bytes(), bytes)


def sandboxes() -> None:
    config = SandboxConfig(heap_size="1MiB", call_timeout=2, rearm="always")
    with Sandbox("simple", config=config) as sandbox:
        assert_type(sandbox.snapshot(), Snapshot)
        assert_type(sandbox.restore(), RestoreStats)
        assert_type(sandbox.layout["heap"], Region)
        assert_type(sandbox.functions, dict[str, str])
        assert_type(sandbox.poisoned, bool)
        assert_type(
            sandbox.call("Add", 1, 2), int | float | bool | str | bytes | None
        )
        assert_type(
            sandbox.map("Add", [(1, 2)], timeout=2),
            list[int | float | bool | str | bytes | None],
        )
        assert_type(
            sandbox.map("Add", iter([(1, 2)]), errors="return"),
            list[int | float | bool | str | bytes | Exception | None],
        )
        sandbox.map("Add", [1])  # type: ignore[list-item]
        sandbox.map("Add", [()], errors="ignore")  # type: ignore[call-overload]
        assert_type(sandbox.stats, SandboxStats)
        assert_type(sandbox.stats["driver"], str)
        assert_type(sandbox.stats["pages_copied"], int)
        assert_type(sandbox.devolve(), UninitializedSandbox)
        with sandbox.transaction() as snapshot:
            assert_type(snapshot, Snapshot)
    fresh = UninitializedSandbox(b"elf").register("F", len)
    assert_type(fresh.evolve(lambda made: made.call("G")), Sandbox)
    SandboxConfig(rearm="never")  # type: ignore[arg-type]
    Sandbox(5)  # type: ignore[arg-type]


def programs() -> None:
    files = Files().add("/a", b"").add("/b", "text", mode=0o600, fixed=True)
    files.add("/c", lambda: b"").link("/d", "a").folder("/e")
    files.host("/usr", "/usr").archive(b"zip", at="/f").temporary(size="1MiB")
    assert_type(files.copy(), Files)
    files.add("/g", 5)  # type: ignore[arg-type]
    files.add("/g", lambda: "text")  # type: ignore[arg-type, return-value]
    program = Program(["/a", "-x"], env={"A": "b"}, files=files, cwd="/e")
    done = program.run(b"in", timeout=2, on_output=lambda out, err: None)
    assert_type(done, Completed)
    assert_type(done.exit_code, int | None)
    assert_type(done.stdout, bytes)
    assert_type(done.refused, dict[str, int])
    with program.bake(timeout=2) as sandbox:
        assert_type(sandbox, ProgramSandbox)
        assert_type(sandbox.request(b"data", timeout=1.5), bytes)
        assert_type(sandbox.output(), tuple[bytes, bytes])
        assert_type(sandbox.restore(sandbox.snapshot()), RestoreStats)
        sandbox.request("text")  # type: ignore[arg-type]
    Program(["/a"], env={"A": 5})  # type: ignore[dict-item]
    program.run("text")  # type: ignore[arg-type]


def python() -> None:
    with PythonSandbox(
        preload=["json"], files=Files(), host_functions={"f": len}
    ) as sandbox:
        result = sandbox.run("x + 1", inputs={"x": 1}, timeout=5, keep=True)
        assert_type(result, PythonResult)
        assert_type(result.stdout, str)
        assert_type(result.error, PythonError | None)
        assert_type(result.stats, RunStats)
        assert_type(result.stats.restore, RestoreStats | None)
        snapshot = sandbox.snapshot("name")
        assert_type(snapshot, Snapshot)
        assert_type(sandbox.restore(snapshot), RestoreStats)
        assert_type(sandbox.changed(), PageSet)
        with sandbox.session() as session:
            assert_type(session, PythonSandbox)
        sandbox.run(b"code")  # type: ignore[arg-type]
        sandbox.restore(5)  # type: ignore[arg-type]
    PythonSandbox(files={"/a": b""})  # type: ignore[arg-type]


def host() -> None:
    assert_type(hyperlight.trackers(), list[TrackerInfo])
    assert_type(hyperlight.drivers(), list[DriverInfo])
    assert_type(hyperlight.fault_handlers(), list[FaultHandlerInfo])
