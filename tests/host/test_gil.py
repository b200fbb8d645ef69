"""When calls give the GIL away: never for what is short, once for what is not.

Beside a thread that computes, each time costs its time slice of 5 ms. Counted,
not timed.
"""

from __future__ import annotations

import mmap
import platform
import re
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import require_guest, run_python

from hyperlight import PageSet, Sandbox, SharedMemory, SnapshotManager
from hyperlight._binding import core

# PROCMAP_QUERY: before it, what is mapped is read as text, which takes long.
ASKS = [int(n) for n in re.findall(r"\d+", platform.release())[:2]] >= [6, 11]


def given_away(call: Callable[[], Any]) -> int:
    """How often it was while this ran."""
    before = core.times_given_away()
    call()
    return core.times_given_away() - before


def warm(memory: SharedMemory, tracker: str = "auto") -> SnapshotManager:
    """A manager with a snapshot, of memory whose pages all exist."""
    memory.fill(0, memory.size, 7)
    manager = SnapshotManager(memory, tracker=tracker)
    manager.take()
    return manager


@pytest.fixture
def small() -> Iterator[SharedMemory]:
    with SharedMemory("64KiB") as memory:
        yield memory


@pytest.fixture
def large() -> Iterator[SharedMemory]:
    with SharedMemory("64MiB") as memory:
        yield memory


def test_nothing_small_gives_it_away(
    small: SharedMemory, tracker: str
) -> None:
    """With whatever tracker, whether pages are hot or not."""
    if tracker == "softdirty":
        pytest.skip("arming looks at all memory of the process")
    with warm(small, tracker) as manager:
        base = manager.current

        def loop() -> None:
            small.write(5, b"text")
            manager.restore()
            small.fill(0, 4096, 3)
            manager.restore(base)
            manager.dirty()

        def compare() -> None:
            manager.changed()
            manager.changed(everything=True)
            manager.verify()

        def rest() -> None:
            small.fill(4096, 4096)
            manager.push()
            small.read(0, small.size)
            manager.pop()
            taken = manager.take("one")
            assert base is not None
            assert len(taken.diff(base)) == 1
            assert taken.nbytes < 1 << 20
            taken.read(0, 4096)
            assert manager.stats["takes"]
            assert len(manager.dirty() | PageSet.from_pages(16, [1])) >= 1

        for _ in range(30):
            assert given_away(loop) == 0
        assert given_away(rest) == 0
        if ASKS:
            assert given_away(compare) == 0
            assert given_away(manager.close) == 0


def test_one_page_of_much_memory(
    large: SharedMemory, real_tracker: str
) -> None:
    """What a restore costs is what changed."""
    if real_tracker == "softdirty":
        pytest.skip("arming looks at all memory of the process")
    with warm(large, real_tracker) as manager:
        view = memoryview(large)
        for _ in range(30):
            view[1 << 20] = 1
            assert given_away(manager.restore) == 0
            view[1 << 20] = 1
            assert given_away(manager.take) == 0
            assert given_away(manager.dirty) == 0
        view.release()


def test_much_that_changed_gives_it_away_once(
    large: SharedMemory, tracker: str
) -> None:
    with warm(large, tracker) as manager:
        kept = [manager.current]
        assert given_away(lambda: large.fill(0, large.size, 1)) == 1
        assert given_away(manager.restore) == 1
        large.fill(0, large.size, 2)
        assert given_away(lambda: kept.append(manager.take())) == 1
        assert given_away(lambda: manager.changed(everything=True)) == 1
        assert given_away(manager.verify) == 1
        assert given_away(lambda: large.read(0, large.size)) == 1
        snapshot = manager.take()
        large.fill(0, large.size, 3)
        kept.append(manager.take())
        assert given_away(lambda: snapshot.read(0, snapshot.size)) == 1
        assert given_away(lambda: manager.restore(snapshot)) == 1
        assert given_away(kept.clear) > 0
        assert given_away(manager.close) == 1


def test_pages_of_a_file_may_be_waited_for() -> None:
    """A file's, by whoever provides it: a thread of this process, perhaps."""
    with tempfile.TemporaryFile() as file:
        file.write(bytes(65536))
        file.flush()
        with mmap.mmap(file.fileno(), 65536) as lender:
            memory = SharedMemory.from_buffer(lender)
            with warm(memory, "full") as manager:
                assert given_away(manager.restore) == 1
                assert given_away(manager.take) == 1
            memory.close()
    lender = mmap.mmap(-1, 65536)
    memory = SharedMemory.from_buffer(lender)
    with warm(memory, "full") as manager:
        assert given_away(manager.restore) == 0 or not ASKS
    memory.close()
    lender.close()


def test_a_call_gives_it_away_once(simple: Sandbox) -> None:
    """For the guest; arguments, results and a restore are short."""

    def both() -> None:
        assert simple.call("Echo", "text") == "text"
        simple.restore()

    def longer() -> None:
        simple.call("EchoBytes", bytes(8000))

    # A run that takes long, on a busy machine, is looked after in between.
    assert min(given_away(both) for _ in range(10)) == 1
    assert min(given_away(longer) for _ in range(10)) == 1
    assert given_away(lambda: simple.restore(simple.base)) == 0
    assert given_away(lambda: simple.changed()) == 0 or not ASKS
    assert given_away(lambda: simple.stats) == 0


def test_it_is_not_waited_for_with_a_lock() -> None:
    """Nor is a lock with it: a call meets a long one of another thread."""
    result = run_python(
        """
import sys, threading, time
from hyperlight import SharedMemory, SnapshotManager
from hyperlight._binding import core
sys.setswitchinterval(float(sys.argv[1]))
memory = SharedMemory("64MiB")
memory.fill(0, memory.size, 1)
manager = SnapshotManager(memory, tracker="full")
manager.take()
stop = False
def restore():
    while not stop:
        manager.restore()
def spin():
    x = 0
    while not stop:
        x += 1
        if x % 1000 == 0:
            time.sleep(0)
threads = [threading.Thread(target=work) for work in (restore, restore, spin)]
for thread in threads:
    thread.start()
met, patience = 0, time.monotonic() + 60
while met < 5 and time.monotonic() < patience:
    before = core.times_given_away()
    len(manager.dirty())
    met += core.times_given_away() - before
    time.sleep(0)
stop = True
for thread in threads:
    thread.join()
print(met >= 5)
""",
        "0.005",
    )
    assert result.stdout == "True\n", result


def test_a_fork_while_a_long_call_is_under_way() -> None:
    """It waits for the call; the child has a manager that works."""
    result = run_python(
        """
import os, signal, threading
from hyperlight import SharedMemory, SnapshotManager
memory = SharedMemory("32MiB")
memory.fill(0, memory.size, 1)
manager = SnapshotManager(memory, tracker="full")
manager.take()
stop = False
def restore():
    while not stop:
        manager.restore()
thread = threading.Thread(target=restore)
thread.start()
codes = set()
for _ in range(20):
    memory.write(0, b"w")
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        memory.write(0, b"c")
        manager.restore()
        os._exit(memory.read(0, 1) != b"\1")
    codes.add(os.waitpid(pid, 0)[1])
stop = True
thread.join()
print(codes)
"""
    )
    assert result.stdout == "{0}\n", result


#: A thread that provides the pages of `lender`, by its own userfaultfd: it
#: needs the GIL while a page is wanted.
PROVIDES = """
import ctypes, faulthandler, fcntl, mmap, os, struct, sys, threading
from hyperlight import Sandbox, SharedMemory

faulthandler.dump_traceback_later(20, exit=True)
PAGE = mmap.PAGESIZE
lender = mmap.mmap(-1, 16 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory = SharedMemory.from_buffer(lender)
number = int(os.environ["USERFAULTFD"])
fd = ctypes.CDLL(None).syscall(number, os.O_CLOEXEC)
if fd < 0:
    fd = ctypes.CDLL(None).syscall(number, os.O_CLOEXEC | 1)
if fd < 0:
    print("no userfaultfd")
    sys.exit(77)
fcntl.ioctl(fd, 0xC018AA3F, struct.pack("QQQ", 0xAA, 0, 0))
fcntl.ioctl(
    fd, 0xC020AA00, struct.pack("QQQQ", memory.address, memory.size, 1, 0)
)
page = ctypes.create_string_buffer(b"U" * PAGE, PAGE)

def serve():
    while True:
        addr = struct.unpack_from("Q", os.read(fd, 32), 16)[0] & -PAGE
        copy = struct.pack("QQQQq", addr, ctypes.addressof(page), PAGE, 0, 0)
        fcntl.ioctl(fd, 0xC028AA03, bytearray(copy))

threading.Thread(target=serve, daemon=True).start()
"""


@pytest.mark.parametrize(
    "call", ["read(8192, 2)", "write(8192, b'x')", "fill(8192, 2, 120)"]
)
def test_a_thread_that_provides_pages_of_borrowed_memory(call: str) -> None:
    result = run_python(
        f"{PROVIDES}memory.{call}\n"
        "print(memory.read(8192, 3).decode(), flush=True)\n"
        "os._exit(0)\n"
    )
    if result.returncode == 77:
        pytest.skip(result.stdout.strip())
    assert result.returncode == 0, result.stderr
    wanted = {"r": "UUU", "w": "xUU", "f": "xxU"}[call[0]]
    assert result.stdout.strip() == wanted


@pytest.mark.parametrize("size", [3, 5000])
@pytest.mark.parametrize(
    "call",
    [
        "own.write(9, data); made = own.read(9, len(data))",
        "made = sandbox.call('EchoBytes', data)",
        "(made,) = sandbox.map('EchoBytes', [(data,)])",
    ],
)
def test_a_thread_that_provides_pages_of_what_is_written(
    call: str, size: int
) -> None:
    """Or of an argument; however little there is to copy."""
    set_up = "own = SharedMemory('64KiB')"
    if "sandbox" in call:
        require_guest()
        set_up = "sandbox = Sandbox('simple')"
    result = run_python(
        f"{PROVIDES}{set_up}\n"
        f"data = memoryview(lender)[8192 : 8192 + {size}]\n"
        f"{call}\n"
        f"print(made == b'U' * {size}, flush=True)\n"
        "os._exit(0)\n"
    )
    if result.returncode == 77:
        pytest.skip(result.stdout.strip())
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "True"
