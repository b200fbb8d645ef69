"""Nothing that the kernel refuses loses data."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import new_manager, require_tracker, run_python

import hyperlight
from hyperlight import SharedMemory, SnapshotManager, TrackerUnavailable
from hyperlight._binding import core
from hyperlight.registry import HOST_TRACKERS

PAGE = core.PAGE_SIZE


def test_more_lone_pages_than_mappings() -> None:
    """Alternate pages past vm.max_map_count: a wider mark, no lost write."""
    require_tracker("sigsegv")
    limit = int(Path("/proc/sys/vm/max_map_count").read_text())
    if limit > 100_000:
        pytest.skip(f"vm.max_map_count={limit}: too much memory to reach it")
    pages = limit + 2000
    memory, manager = new_manager(pages, "sigsegv", "always", hugepages=False)
    with memory, manager, memoryview(memory) as view:
        manager.take()
        for page in range(0, pages, 2):
            view[page * PAGE] = 1
        dirty, changed = manager.dirty(), manager.changed()
        assert set(changed) == set(range(0, pages, 2))
        assert not changed - dirty
        assert len(dirty) > len(changed)  # it did come to that
        # the process can still map memory
        SharedMemory(PAGE).close()
        manager.restore()
        assert not manager.changed()
        assert not manager.dirty()
        manager.verify()
        view[5 * PAGE] = 2
        assert set(manager.dirty()) == {5}


def test_arming_refused(real_tracker: str, rearm: str, fail) -> None:
    """Pages that could not be armed stay dirty."""
    memory, manager = new_manager(100, real_tracker, rearm)
    with memory, manager:
        memory.fill(0, 50 * PAGE, 1)
        manager.take()
        for skip in range(3):
            for page in (3, 40, 90):
                memory.write(page * PAGE, b"x")
            fail("arm", skip, 1)
            manager.restore()
            fail("arm", 0, 0)
            assert not manager.changed()
            memory.write(40 * PAGE, b"y")
            memory.write(70 * PAGE, b"z")
            assert {40, 70} <= set(manager.dirty())
            manager.verify()
            manager.restore()
            assert not manager.changed()


def test_collecting_refused(fail) -> None:
    """A tracker that cannot answer: every page counts as written."""
    require_tracker("uffd")
    memory, manager = new_manager(100, "uffd", "always")
    with memory, manager:
        memory.fill(0, 10 * PAGE, 1)
        base = manager.take()
        memory.write(60 * PAGE, b"x")
        fail("collect")
        assert len(manager.dirty()) == 100
        manager.restore()
        assert not manager.changed()
        memory.write(61 * PAGE, b"x")
        fail("collect")
        child = manager.take()
        assert list(child.diff(base)) == [61]
        assert manager.stats["guesses"] == 2
        memory.write(5 * PAGE, b"x")
        assert set(manager.dirty()) == {5}


def test_opening_a_page_refused(trap: str, fail) -> None:
    """The handler opens a wider range, up to the whole region."""
    for count in (1, 2, 3):
        memory, manager = new_manager(3000, trap, "always")
        with memory, manager:
            manager.take()
            fail("unprotect", 0, count)
            memory.write(1234 * PAGE, b"x")
            fail("unprotect", 0, 0)
            assert set(manager.changed()) == {1234}
            assert len(manager.dirty()) > 1
            manager.restore()
            assert not manager.dirty()


@pytest.mark.parametrize("point", ["store-alloc", "node-alloc"])
def test_no_memory_for_a_take(tracker: str, rearm: str, point, fail) -> None:
    """No snapshot, and every page that was dirty is dirty still."""
    memory, manager = new_manager(200, tracker, rearm)
    with memory, manager:
        memory.fill(0, 60 * PAGE, 1)
        for skip in range(40):
            fail(point, skip, 1)
            try:
                base = manager.take("base")
            except MemoryError as error:
                assert "take" in str(error)
                assert manager.current is None
            else:
                break
        else:
            pytest.fail("a take never got through")
        fail(point, 0, 0)
        assert base.read(0, 200 * PAGE) == memory.read(0, 200 * PAGE)
        used = manager.stats["store_bytes"]
        for skip in range(40):
            for page in (1, 17, 18, 100, 199):
                memory.write(page * PAGE, bytes([skip + 2]))
            fail(point, skip, 1)
            try:
                child = manager.take("child")
            except MemoryError:
                assert manager.current is base
                assert {1, 17, 18, 100, 199} <= set(manager.dirty())
                assert manager.stats["store_bytes"] == used
            else:
                break
        assert list(child.diff(base)) == [1, 17, 18, 100, 199]
        manager.verify()
        manager.restore(base)
        assert not manager.changed()
        assert base.read(0, 200 * PAGE) == memory.read(0, 200 * PAGE)


SECCOMP = """
import ctypes, struct, sys, os
BLOCKED = {"x86_64": 323, "aarch64": 282}[os.uname().machine]
libc = ctypes.CDLL(None, use_errno=True)
# BPF: load the call's number; userfaultfd gets the given errno
code = b"".join(struct.pack("<HBBI", *line) for line in [
    (0x20, 0, 0, 0),
    (0x15, 0, 1, BLOCKED),
    (0x06, 0, 0, 0x00050000 | int(sys.argv[1])),
    (0x06, 0, 0, 0x7fff0000),
])
program = ctypes.create_string_buffer(code)
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
bpf = Filter(4, ctypes.addressof(program))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(bpf), 0, 0):
    print("no seccomp"); sys.exit(0)
import hyperlight
infos = {i.name: i for i in hyperlight.trackers()}
print(infos["uffd"].reason)
assert not infos["uffd"].available and not infos["uffd-sigbus"].available
with hyperlight.SharedMemory("1MiB") as memory:
    try:
        hyperlight.SnapshotManager(memory, tracker="uffd")
    except hyperlight.TrackerUnavailable as error:
        print(error)
    with hyperlight.SnapshotManager(memory) as manager:
        assert manager.tracker == "sigsegv"
        assert set(manager.stats["passed_over"]) == {"uffd", "uffd-sigbus"}
        assert "passed_over" in manager.stats["why"]
        manager.take()
        memory.write(5000, b"x")
        assert set(manager.dirty()) == {1}
        manager.restore()
        assert memory.read(5000, 1) == b"\\0"
"""


@pytest.mark.parametrize(
    ("number", "says"), [(1, "forbidden here"), (38, "not compiled")]
)
def test_userfaultfd_blocked_as_in_containers(number: int, says: str) -> None:
    result = run_python(SECCOMP, str(number))
    assert result.returncode == 0, result.stderr
    if result.stdout.startswith("no seccomp"):
        pytest.skip("this process may not install a seccomp filter")
    reason, error = result.stdout.splitlines()
    assert says in reason
    assert reason in error
    assert "usable for this memory: sigsegv" in error


def test_unprivileged_user() -> None:
    """uffd works without any privilege, as on the user's own machine."""
    require_tracker("uffd")
    script = """
import ctypes, os, sys
import hyperlight
from hyperlight import *  # later it may not read the files
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    # changing users hides /proc/self, which a user's own process does not
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE
assert os.geteuid() != 0
for info in hyperlight.trackers():
    print(info.name, info.available, info.reason)
with hyperlight.SharedMemory("1MiB") as memory:
    with hyperlight.SnapshotManager(memory, tracker="uffd") as manager:
        manager.take()
        memory.write(5000, b"x")
        r, w = os.pipe(); os.write(w, b"abc")
        os.readv(r, [memoryview(memory)[9000:9003]])
        assert set(manager.dirty()) == {1, 2}
        manager.restore()
        manager.verify()
print("done")
"""
    result = run_python(script)
    assert result.returncode == 0, result
    assert result.stdout.endswith("done\n")


def test_region_that_was_mapped_over(tmp_path) -> None:
    """Memory replaced behind the tracker's back: all of it counts."""
    import mmap

    require_tracker("uffd")
    memory, manager = new_manager(64, "uffd", "always")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    with memory, manager:
        memory.fill(0, memory.size, 6)
        manager.take()
        over = libc.mmap(
            ctypes.c_void_p(memory.address + 8 * PAGE),
            ctypes.c_size_t(8 * PAGE),
            mmap.PROT_READ | mmap.PROT_WRITE,
            mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10,  # MAP_FIXED
            -1,
            0,
        )
        assert over == memory.address + 8 * PAGE
        assert len(manager.dirty()) == 64
        assert set(manager.changed()) == set(range(8, 16))
        manager.restore()
        assert memory.read(0, memory.size) == b"\x06" * memory.size
        memory.write(9 * PAGE, b"x")
        assert 9 in manager.dirty()
        manager.restore()
        manager.verify()


@pytest.mark.parametrize("range_", [(5, 1), (0, 512), (512, 512), (100, 700)])
@pytest.mark.parametrize("hugepages", [False, True])
def test_dropped_pages_are_seen(
    real_tracker: str, hugepages: bool, range_: tuple[int, int]
) -> None:
    """MADV_DONTNEED: the pages are zero, and that is a change."""

    first, count = range_
    memory, manager = new_manager(
        2048, real_tracker, "always", hugepages=hugepages
    )
    libc = ctypes.CDLL(None, use_errno=True)
    with memory, manager:
        memory.fill(0, memory.size, 9)
        manager.take()
        rc = libc.madvise(
            ctypes.c_void_p(memory.address + first * PAGE),
            ctypes.c_size_t(count * PAGE),
            4,  # MADV_DONTNEED
        )
        assert rc == 0
        if real_tracker == "uffd":
            assert set(manager.changed()) == set(range(first, first + count))
            manager.verify()
            manager.restore()
            assert memory.read(0, memory.size) == b"\x09" * memory.size
        else:
            # The others hear of writes only; verify() says so.
            with pytest.raises(hyperlight.TrackerMissedPage):
                manager.verify()


@pytest.fixture
def swap(tmp_path: Path) -> Iterator[None]:
    """Swap space: the machine's, or a small file for as long as a test."""
    if Path("/proc/swaps").read_text().splitlines()[1:]:
        yield
        return
    file = tmp_path / "swap"
    file.touch(0o600)
    file.write_bytes(bytes(16 << 20))
    for command in ("mkswap", "swapon"):
        if shutil.which(command) is None:
            pytest.skip(f"this machine has no swap and no {command}")
        made = subprocess.run(
            [command, str(file)], capture_output=True, text=True, check=False
        )
        if made.returncode:
            pytest.skip(f"no swap, and {command}: {made.stderr.strip()}")
    yield
    subprocess.run(["swapoff", str(file)], check=True)


def page_out(memory: SharedMemory) -> None:
    """Everything to swap; skips where the kernel would not."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise(
        ctypes.c_void_p(memory.address),
        ctypes.c_size_t(memory.size),
        21,  # MADV_PAGEOUT
    )


def skip_unless_swapped(memory: SharedMemory) -> None:
    with Path("/proc/self/pagemap").open("rb") as pagemap:
        pagemap.seek((memory.address // PAGE) * 8)
        entry = int.from_bytes(pagemap.read(8), "little")
    if not entry >> 62 & 1:
        pytest.skip("the kernel kept the page in memory")


def test_swapped_out_pages(real_tracker: str, swap: None) -> None:
    """A dirty page in swap is a dirty page."""
    memory, manager = new_manager(256, real_tracker, "always", hugepages=False)
    with memory, manager:
        memory.fill(0, memory.size, 1)
        manager.take()
        for page in range(0, 256, 3):
            memory.write(page * PAGE, b"dirty")
        page_out(memory)
        skip_unless_swapped(memory)
        assert set(manager.dirty()) == set(range(0, 256, 3))
        page_out(memory)
        manager.restore()
        assert memory.read(0, memory.size) == b"\x01" * memory.size
        page_out(memory)
        assert not manager.dirty()
        manager.verify()


@pytest.mark.parametrize("pages", [256, 64], ids=["asked", "read"])
def test_first_take_of_swapped_out_memory(
    real_tracker: str, pages: int, swap: None
) -> None:
    """What is in swap exists, beside pages that never did."""
    memory, manager = new_manager(pages, real_tracker, hugepages=False)
    some = pages // 4
    with memory, manager:
        memory.fill(0, some * PAGE, 1)
        page_out(memory)
        skip_unless_swapped(memory)
        base = manager.take()
        page_out(memory)
        memory.fill((some - 4) * PAGE, 8 * PAGE, 2)
        assert set(range(some - 4, some + 4)) <= set(manager.dirty())
        manager.restore(base)
        expected = b"\x01" * some * PAGE + bytes((pages - some) * PAGE)
        assert memory.read(0, memory.size) == expected
        assert base.read(0, base.size) == expected
        manager.verify()


def test_auto_says_why_not_the_others() -> None:
    with SharedMemory(PAGE) as memory, SnapshotManager(memory) as manager:
        best = next(i.name for i in hyperlight.trackers() if i.available)
        assert manager.tracker == best
        before = list(manager.stats["passed_over"])
        names = list(HOST_TRACKERS)
        assert before == names[: names.index(best)]


def test_unavailable_is_an_error_that_helps() -> None:
    missing = [
        info
        for info in hyperlight.trackers()
        if info.driver is None and not info.available
    ]
    if not missing:
        pytest.skip("every tracker works here")
    with SharedMemory(PAGE) as memory:
        with pytest.raises(TrackerUnavailable) as caught:
            SnapshotManager(memory, tracker=missing[0].name)
        text = str(caught.value)
        assert missing[0].name in text
        assert missing[0].reason in text
        assert "full" in caught.value.usable
        # nothing is left claimed
        SnapshotManager(memory, tracker="full").close()


def test_imports_elsewhere() -> None:
    """On another system it imports, and says what is missing."""
    script = """
import sys
sys.platform = "darwin"
import hyperlight
for info in hyperlight.trackers():
    assert not info.available and "needs Linux" in info.reason, info
try:
    hyperlight.SharedMemory(4096)
except hyperlight.TrackerUnavailable as error:
    print(error)
pages = hyperlight.PageSet.from_pages(70, [1, 2, 69])
assert pages.runs() == [(1, 2), (69, 1)] and len(pages) == 3
assert hyperlight.fault_handlers() == []
from hyperlight import doctor
assert doctor.examine()["advice"]
"""
    result = run_python(script)
    assert result.returncode == 0, result.stderr
    assert "needs Linux" in result.stdout
