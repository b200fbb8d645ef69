"""What Windows has of its own: watched memory, exceptions, protection."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import new_manager, run_python

import hyperlight
from hyperlight import SharedMemory, SnapshotManager, TrackerUnavailable
from hyperlight._binding import core

if sys.platform != "win32":
    pytest.skip("this is not Windows", allow_module_level=True)

PAGE = core.PAGE_SIZE
COMMIT, RESERVE, DECOMMIT, RELEASE = 0x1000, 0x2000, 0x4000, 0x8000
WRITE_WATCH = 0x200000
READWRITE, READONLY, NOACCESS, GUARD = 4, 2, 1, 0x100
ERROR_NOACCESS = 998

kernel = ctypes.WinDLL("kernel32", use_last_error=True)
kernel.VirtualAlloc.restype = ctypes.c_void_p
kernel.VirtualAlloc.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32, ctypes.c_uint32),
)
kernel.VirtualFree.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32),
)
kernel.VirtualProtect.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint32),
    ctypes.POINTER(ctypes.c_uint32),
)
kernel.CreateFileW.restype = ctypes.c_void_p
kernel.ReadFile.argtypes = (
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32),
    *(ctypes.POINTER(ctypes.c_uint32), ctypes.c_void_p),
)
kernel.CloseHandle.argtypes = (ctypes.c_void_p,)


def protect(address: int, size: int, how: int) -> None:
    before = ctypes.c_uint32()
    done = kernel.VirtualProtect(address, size, how, ctypes.byref(before))
    assert done, ctypes.get_last_error()


class Allocated:
    """Memory of VirtualAlloc, as another library might have it."""

    def __init__(self, pages: int, flags: int = 0) -> None:
        self.size = pages * PAGE
        self.at = kernel.VirtualAlloc(
            None, self.size, RESERVE | COMMIT | flags, READWRITE
        )
        assert self.at

    def buffer(self) -> ctypes.Array[ctypes.c_char]:
        return (ctypes.c_char * self.size).from_address(self.at)

    def free(self) -> None:
        assert kernel.VirtualFree(self.at, 0, RELEASE)


@pytest.fixture
def allocated() -> Iterator[Allocated]:
    made = Allocated(16)
    yield made
    made.free()


def read_into(path: Path, address: int, size: int) -> tuple[int, int]:
    """ReadFile: the bytes that came, and the error."""
    file = kernel.CreateFileW(str(path), 0x80000000, 1, None, 3, 0, None)
    got = ctypes.c_uint32()
    done = kernel.ReadFile(file, address, size, ctypes.byref(got), None)
    error = 0 if done else ctypes.get_last_error()
    kernel.CloseHandle(file)
    return got.value, error


def test_trackers_and_their_order() -> None:
    found = [t for t in hyperlight.trackers() if t.driver is None]
    assert [t.name for t in found] == ["writewatch", "vectored", "full"]
    assert all(t.available for t in found), found
    assert [t.kernel_writes for t in found] == [True, False, True]


@pytest.mark.parametrize("tracker", ["writewatch", "full"])
def test_system_calls_into_tracked_memory_are_seen(
    tracker: str, tmp_path: Path
) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"x" * 3 * PAGE)
    memory, manager = new_manager(16, tracker)
    with memory, manager:
        before = manager.take()
        assert read_into(path, memory.address + 5 * PAGE, 3 * PAGE) == (
            3 * PAGE,
            0,
        )
        assert {5, 6, 7} <= set(manager.dirty())
        manager.restore(before)
        assert memory.read(0, memory.size) == bytes(memory.size)


def test_system_calls_into_protected_memory_fail(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"x" * PAGE)
    memory, manager = new_manager(16, "vectored")
    with memory, manager:
        manager.take()
        got, error = read_into(path, memory.address + PAGE, PAGE)
        assert (got, error) == (0, ERROR_NOACCESS)
        assert memory.read(PAGE, PAGE) == bytes(PAGE)
        memory.write(PAGE, b"\0")
        assert read_into(path, memory.address + PAGE, PAGE) == (PAGE, 0)
        assert set(manager.dirty()) == {1}


def test_what_was_not_watched_is_refused_or_trapped(
    allocated: Allocated,
) -> None:
    with SharedMemory.from_buffer(allocated.buffer()) as memory:
        with pytest.raises(TrackerUnavailable, match="MEM_WRITE_WATCH") as e:
            SnapshotManager(memory, tracker="writewatch")
        assert e.value.usable == ("vectored", "full")
        with SnapshotManager(memory) as manager:
            assert manager.tracker == "vectored"
            before = manager.take()
            memory.write(3 * PAGE, b"new")
            assert set(manager.dirty()) == {3}
            manager.restore(before)
            assert memory.read(3 * PAGE, 3) == bytes(3)


def test_memory_of_others_that_is_watched() -> None:
    made = Allocated(16, WRITE_WATCH)
    buffer = made.buffer()
    buffer[2 * PAGE] = b"x"
    with SharedMemory.from_buffer(buffer) as memory:
        with SnapshotManager(memory) as manager:
            assert manager.tracker == "writewatch"
            before = manager.take()  # nobody knows what was forgotten: reads
            assert before.read(2 * PAGE, 1) == b"x"
            buffer[9 * PAGE] = b"y"
            assert set(manager.dirty()) == {9}
    del buffer, memory
    made.free()


def test_a_second_manager_does_not_take_forgotten_for_untouched() -> None:
    """What the first made Windows forget is not zero for the second."""
    with SharedMemory(16 * PAGE) as memory:
        memory.write(5 * PAGE, b"old")
        with SnapshotManager(memory, tracker="writewatch") as manager:
            manager.take()
        with SnapshotManager(memory, tracker="writewatch") as manager:
            assert manager.take().read(5 * PAGE, 3) == b"old"


def test_first_take_costs_what_was_touched() -> None:
    """A GiB that nobody touched is not read."""
    with SharedMemory("1GiB") as memory:
        memory.write(700 << 20, b"x")
        with SnapshotManager(memory, tracker="writewatch") as manager:
            manager.take()
            assert manager.stats["pages_stored"] == 1
            assert manager.stats["store_pages"] == 1


@pytest.mark.parametrize("how", [NOACCESS, READONLY, READWRITE | GUARD])
def test_memory_that_differs_is_refused(
    allocated: Allocated, how: int
) -> None:
    protect(allocated.at + 4 * PAGE, PAGE, how)
    with pytest.raises(ValueError, match="not mapped readable and writable"):
        SharedMemory.from_buffer(allocated.buffer())
    protect(allocated.at + 4 * PAGE, PAGE, READWRITE)


def test_what_its_owner_closed_stays_closed(allocated: Allocated) -> None:
    buffer = allocated.buffer()
    with SharedMemory.from_buffer(buffer) as memory:
        with SnapshotManager(memory, tracker="vectored") as manager:
            manager.take()
            protect(allocated.at + 4 * PAGE, PAGE, NOACCESS)
        with pytest.raises(OSError, match="access violation"):
            ctypes.memset(allocated.at + 4 * PAGE, 1, 1)
        ctypes.memset(allocated.at + 5 * PAGE, 1, 1)
    del buffer, memory
    protect(allocated.at + 4 * PAGE, PAGE, READWRITE)


def test_guard_pages_around_own_memory() -> None:
    with SharedMemory(3 * PAGE) as memory:
        for at in (memory.address - 1, memory.address + memory.size):
            with pytest.raises(OSError, match="access violation"):
                ctypes.memset(at, 1, 1)


def test_memory_of_several_reservations_is_refused() -> None:
    """One call that protects pages does not cross from one to the next."""
    room = Allocated(32)
    room.free()
    halves = [
        kernel.VirtualAlloc(
            room.at + i * 16 * PAGE, 16 * PAGE, RESERVE | COMMIT, READWRITE
        )
        for i in range(2)
    ]
    assert halves == [room.at, room.at + 16 * PAGE]
    with SharedMemory.from_buffer(room.buffer()) as memory:
        with pytest.raises(TrackerUnavailable, match="several reservations"):
            SnapshotManager(memory, tracker="vectored")
        with SnapshotManager(memory) as manager:
            assert manager.tracker == "full"
    for half in halves:
        assert kernel.VirtualFree(half, 0, RELEASE)


def test_files_and_shared_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"f" * 4 * PAGE)
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 4 * PAGE)
        copied = mmap.mmap(file.fileno(), 4 * PAGE, access=mmap.ACCESS_COPY)
    shared = mmap.mmap(-1, 4 * PAGE)
    for buffer in (mapped, shared, copied):
        memory = SharedMemory.from_buffer(buffer)
        with memory, SnapshotManager(memory) as manager:
            assert manager.tracker == "vectored"
            before = memory.read(0, memory.size)
            base = manager.take()
            for page in (1, 3):
                memory.write(page * PAGE, b"changed")
            assert set(manager.dirty()) == {1, 3}
            manager.restore(base)
            assert memory.read(0, memory.size) == before
            memory.write(PAGE, b"again")
            assert set(manager.dirty()) == {1}
    assert path.read_bytes() == b"f" * PAGE + b"again" + b"f" * (3 * PAGE - 5)
    for buffer in (mapped, shared, copied):
        buffer.close()


def test_a_fault_that_is_not_ours_is_passed_on() -> None:
    """To ctypes, as an OSError; to nobody, as the end of the process."""
    memory, manager = new_manager(4, "vectored")
    with memory, manager:
        manager.take()
        with pytest.raises(OSError, match="access violation writing"):
            ctypes.memset(16, 1, 1)
        memory.write(0, b"x")
        assert set(manager.dirty()) == {0}
    script = """
import ctypes, _ctypes
from hyperlight import SharedMemory, SnapshotManager
memory = SharedMemory(4096)
manager = SnapshotManager(memory, tracker="vectored")
manager.take()
memory.write(0, b"x")
print(len(manager.dirty()), flush=True)
kernel = ctypes.windll.kernel32
kernel.SetErrorMode(3)
kernel.RaiseException(0xC0000005, 1, 0, None)
"""
    result = run_python(script)
    assert result.stdout.split() == ["1"]
    assert result.returncode != 0


def test_faulthandler_hears_nothing_of_ours() -> None:
    """It would print each fault of an armed page, were it in front."""
    script = """
import faulthandler
from hyperlight import SharedMemory, SnapshotManager
memory = SharedMemory(1 << 20)
manager = SnapshotManager(memory, tracker="vectored")
base = manager.take()
faulthandler.enable()
for i in range(3):
    for page in range(100):  # one by one: a bulk write raises nothing
        memory.write(page * 4096, b"x")
    manager.restore(base)
print(manager.stats["restores"])
"""
    result = run_python(script)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == ["3"]


def test_errors_name_what_windows_has(allocated: Allocated) -> None:
    """The call that failed, and no limit of another system."""
    with pytest.raises(MemoryError, match=r"^VirtualAlloc of \d+ bytes") as e:
        SharedMemory(1 << 60)
    assert not any(w in str(e.value) for w in ("mmap", "vm.", "ulimit"))
    memory = SharedMemory.from_buffer(allocated.buffer())
    with memory, SnapshotManager(memory, tracker="full") as manager:
        manager.take()
        memory.write(4 * PAGE, b"x")
        protect(allocated.at + 4 * PAGE, PAGE, NOACCESS)
        for act in (manager.take, manager.restore):
            with pytest.raises(ValueError, match="VirtualProtect"):
                act()
        protect(allocated.at + 4 * PAGE, PAGE, READWRITE)
        manager.restore()
        assert memory.read(4 * PAGE, 1) == b"\0"


@pytest.mark.parametrize("tracker", ["writewatch", "full"])
def test_memory_that_its_owner_took_back(tracker: str) -> None:
    """Nothing is touched where there is nothing any more."""
    made = Allocated(16, WRITE_WATCH)
    memory = SharedMemory.from_buffer(made.buffer())
    with memory, SnapshotManager(memory, tracker=tracker) as manager:
        base = manager.take()
        memory.write(4 * PAGE, b"x")
        assert kernel.VirtualFree(made.at + 4 * PAGE, PAGE, DECOMMIT)
        for act in (manager.take, manager.restore, manager.changed):
            with pytest.raises(ValueError, match="no longer mapped"):
                act()
        assert kernel.VirtualAlloc(made.at + 4 * PAGE, PAGE, COMMIT, READWRITE)
        manager.restore(base)
        manager.verify()
        made.free()
        for act in (manager.take, manager.restore, manager.changed):
            with pytest.raises(ValueError, match="no longer mapped"):
                act()


def test_own_heap_is_refused() -> None:
    """A block of the process heap, and its neighbours, stay alone."""
    size = 64 * PAGE
    block = ctypes.create_string_buffer(size)
    start = -(-ctypes.addressof(block) // PAGE) * PAGE
    inside = (ctypes.c_char * (32 * PAGE)).from_address(start)
    with SharedMemory.from_buffer(inside) as memory:
        reason = core.why_not_tracked(memory, "vectored")
    assert reason is None, reason  # it lies within one block
    # What the heap knows of a block lies before it, also where that begins
    # with a page.
    around = (ctypes.c_char * PAGE).from_address(
        (ctypes.addressof(block) - 1) // PAGE * PAGE
    )
    with SharedMemory.from_buffer(around) as memory:
        reason = core.why_not_tracked(memory, "vectored")
    assert "heap" in str(reason)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hyperlight", *words],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_doctor() -> None:
    report = json.loads(command("doctor", "--json").stdout)
    assert [row["name"] for row in report["trackers"] if row["available"]] == [
        *("writewatch", "vectored", "full"),
    ]
    drivers = [row["name"] for row in report["drivers"]]
    assert drivers == ["kvm", "mshv", "whp", "emulator"]
    assert report["host"]["system"].startswith("Windows")
    assert not any("vm." in fact for fact in report["host"])
    reasons = {row["name"]: row["reason"] for row in report["drivers"]}
    assert "needs Linux" in reasons["kvm"]
    if reasons["whp"]:
        assert "Windows Hypervisor Platform" in reasons["whp"]
        (line,) = report["advice"]
        assert line.startswith("Run sandboxes on hardware: ")
    assert "ERROR_NOACCESS" in command("doctor").stdout


@pytest.mark.parametrize("tracker", ["auto", "vectored"])
def test_demo(tracker: str) -> None:
    done = command("demo", "--size", "4MiB", "--tracker", tracker, "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["identical"]) == (0, True)
    assert len(report["restores"]) == 2


def test_a_guest_runs_in_software() -> None:
    """The guest is built on Linux, and comes in the wheel."""
    if not any(info.available for info in hyperlight.drivers()):
        pytest.skip("no Unicorn library")
    config = hyperlight.SandboxConfig(driver="emulator")
    with hyperlight.Sandbox("simple", config=config) as sandbox:
        assert sandbox.tracker == "writewatch"
        base = sandbox.snapshot()
        assert [sandbox.call("Counter") for _ in range(2)] == [1, 2]
        sandbox.restore(base)
        assert sandbox.call("Counter") == 1


def test_a_guest_runs_for_long() -> None:
    """The emulator's memory for translated code is filled, and used again."""
    if not any(info.available for info in hyperlight.drivers()):
        pytest.skip("no Unicorn library")
    config = hyperlight.SandboxConfig(driver="emulator")
    with hyperlight.Sandbox("simple", config=config) as sandbox:
        for number in range(1, 4001):
            assert sandbox.call("Counter") == number


def test_no_fork_here() -> None:
    assert not hasattr(os, "fork")
