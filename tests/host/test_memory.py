"""SharedMemory: sizes, buffers, bounds, and its end."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from pathlib import Path

import pytest
from conftest import run_python
from hypothesis import given
from hypothesis import strategies as st

from hyperlight import SharedMemory, SnapshotManager
from hyperlight._binding import core

if sys.platform != "win32":
    import resource

PAGE = core.PAGE_SIZE


def resident(memory: SharedMemory) -> int:
    """Bytes of it that are in memory, from /proc/self/pagemap."""
    with Path("/proc/self/pagemap").open("rb") as pagemap:
        pagemap.seek(memory.address // PAGE * 8)
        entries = pagemap.read(memory.page_count * 8)
    return PAGE * sum(entries[i + 7] >> 7 for i in range(0, len(entries), 8))


@pytest.mark.parametrize(
    ("size", "bytes_"),
    [
        (1, PAGE),
        (PAGE, PAGE),
        (PAGE + 1, 2 * PAGE),
        ("64KiB", 65536),
        ("1.5 MiB", 3 << 19),
        ("7B", PAGE),
    ],
)
def test_sizes(size: object, bytes_: int) -> None:
    with SharedMemory(size) as memory:  # type: ignore[arg-type]
        assert memory.size == len(memory) == bytes_
        assert memory.page_size == PAGE
        assert memory.page_count * PAGE == bytes_
        assert memory.address % PAGE == 0
        assert memory.read(0, bytes_) == bytes(bytes_)


@pytest.mark.parametrize(
    ("size", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        ("", ValueError),
        ("0", ValueError),
        ("5 apples", ValueError),
        ("1e9", ValueError),
        ("-1KiB", ValueError),
        ("0.0001KiB", ValueError),
        (1.5, TypeError),
        (None, TypeError),
        (True, TypeError),
        (b"1KiB", TypeError),
        (2**56, MemoryError),  # more than any processor's addresses
        (2**63 - 1, MemoryError),
        (2**64, MemoryError),
        (10**30, MemoryError),
    ],
)
def test_bad_sizes(size: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"size|mmap|VirtualAlloc") as caught:
        SharedMemory(size)  # type: ignore[arg-type]
    assert caught.type is error


def test_bad_hugepages() -> None:
    for bad in ("yes", 2, None, []):
        with pytest.raises(ValueError, match="hugepages"):
            SharedMemory(PAGE, hugepages=bad)  # type: ignore[arg-type]


def test_set_up_once() -> None:
    with SharedMemory(PAGE) as memory:
        with pytest.raises(ValueError, match="already"):
            memory.__init__(PAGE)  # type: ignore[misc]
        assert memory.size == PAGE


def test_buffer_protocol() -> None:
    with SharedMemory(2 * PAGE) as memory:
        with memoryview(memory) as view:
            assert (view.format, view.itemsize, view.ndim) == ("B", 1, 1)
            assert not view.readonly
            assert view.c_contiguous
            assert view.shape == (2 * PAGE,)
            view[PAGE] = 7
            assert memory.read(PAGE, 1) == b"\x07"
            with pytest.raises(BufferError, match="in use"):
                memory.close()
            assert not memory.closed
        memory.close()
        assert memory.closed


def test_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    memory = SharedMemory(4 * PAGE)
    with SnapshotManager(memory) as manager:
        array = numpy.frombuffer(memory, dtype=numpy.float64)
        array[:] = 1.5
        manager.take()
        array[600] = 2
        assert list(manager.changed()) == [1]
        manager.restore()
        assert (array == 1.5).all()
    del array
    memory.close()


@given(
    offset=st.integers(-3, 2 * PAGE + 3), data=st.binary(max_size=2 * PAGE + 3)
)
def test_write_and_read(offset: int, data: bytes) -> None:
    with SharedMemory(2 * PAGE) as memory:
        if offset >= 0 and offset + len(data) <= 2 * PAGE:
            memory.write(offset, data)
            assert memory.read(offset, len(data)) == data
            assert sum(memory.read(0, 2 * PAGE)) == sum(data)
        else:
            with pytest.raises(IndexError, match="outside of 8192 bytes"):
                memory.write(offset, data)
            assert memory.read(0, 2 * PAGE) == bytes(2 * PAGE)


@pytest.mark.parametrize(
    ("offset", "length", "error"),
    [
        (0, -1, ValueError),
        (-1, 1, IndexError),
        (0, PAGE + 1, IndexError),
        (PAGE + 1, 0, IndexError),
        (2**64, 1, IndexError),
        (1, 2**64, IndexError),
        (2**63, 2**63, IndexError),
        ("0", 1, TypeError),
        (0, None, TypeError),
        (0.5, 1, TypeError),
    ],
)
def test_bounds(offset: object, length: object, error: type) -> None:
    with SharedMemory(PAGE) as memory:
        with pytest.raises(error):
            memory.read(offset, length)  # type: ignore[arg-type]
        with pytest.raises(error):
            memory.fill(offset, length)  # type: ignore[arg-type]
        assert memory.read(PAGE, 0) == b""


@pytest.mark.parametrize("byte", [-1, 256, 2**70, "a", None, 1.5])
def test_bad_fill(byte: object) -> None:
    with SharedMemory(PAGE) as memory:
        with pytest.raises((ValueError, TypeError)):
            memory.fill(0, 1, byte)  # type: ignore[arg-type]
        memory.fill(0, PAGE, 255)
        assert memory.read(0, PAGE) == b"\xff" * PAGE


def test_write_takes_any_contiguous_buffer() -> None:
    import array

    with SharedMemory(PAGE) as memory:
        memory.write(0, array.array("H", [1, 2]))
        assert memory.read(0, 4) == b"\1\0\2\0"
        with pytest.raises(BufferError):
            memory.write(0, memoryview(b"abcdef")[::2])
        with pytest.raises(TypeError):
            memory.write(0, "text")  # type: ignore[arg-type]
        with memoryview(memory) as view:  # onto itself
            memory.write(1, view[0:4])
        assert memory.read(0, 5) == b"\1\1\0\2\0"


def test_after_close() -> None:
    memory = SharedMemory(PAGE)
    memory.close()
    memory.close()
    assert "closed" in repr(memory)
    assert memory.address == 0
    for call in (
        lambda: memory.read(0, 1),
        lambda: memory.write(0, b""),
        lambda: memory.fill(0, 0),
        lambda: memoryview(memory),
        memory.__enter__,
        lambda: SnapshotManager(memory),
    ):
        with pytest.raises(ValueError, match="closed"):
            call()


@pytest.mark.skipif(sys.platform == "win32", reason="asks by write(2)")
def test_guard_pages() -> None:
    """Neither neighbour can be read: the kernel says so without a signal."""
    libc = ctypes.CDLL(None, use_errno=True)
    with SharedMemory(3 * PAGE) as memory:
        read, write = os.pipe()
        try:
            for address in (memory.address - 1, memory.address + memory.size):
                rc = libc.write(write, ctypes.c_void_p(address), 1)
                assert rc == -1
                assert ctypes.get_errno() == 14  # EFAULT
        finally:
            os.close(read)
            os.close(write)


# A sanitizer keeps what was freed, to catch its use.
@pytest.mark.unsanitized
def test_lazily_populated() -> None:
    """A terabyte costs what is touched of it."""
    with SharedMemory("64GiB", hugepages=False) as memory:
        memory.write(0, b"x")
        memory.write(memory.size - 1, b"x")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert peak * 1024 < 2**30
    with SharedMemory("64MiB", hugepages=False) as memory:
        memory.write(5 * PAGE, b"x")
        assert resident(memory) == PAGE


@pytest.mark.unsanitized
def test_out_of_address_space() -> None:
    result = run_python(
        """
import resource, hyperlight
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    hyperlight.SharedMemory("2GiB")
except MemoryError as error:
    print(error)
m = hyperlight.SharedMemory("1MiB")
print(len(m))
"""
    )
    assert result.returncode == 0, result.stderr
    assert "mmap of 2147483648 bytes" in result.stdout
    assert "1048576" in result.stdout


class TestFromBuffer:
    """Somebody else's memory."""

    def test_is_the_same_memory_and_kept_alive(self) -> None:
        backing = mmap.mmap(-1, 4 * PAGE)
        memory = SharedMemory.from_buffer(backing)
        backing[5] = 9
        assert memory.read(5, 1) == b"\x09"
        memory.write(6, b"x")
        assert backing[6] == ord("x")
        with pytest.raises(BufferError):
            backing.close()
        memory.close()
        backing.close()

    def test_outlives_its_name(self) -> None:
        memory = SharedMemory.from_buffer(mmap.mmap(-1, PAGE))
        memory.write(0, b"x")
        assert memory.read(0, 1) == b"x"
        memory.close()

    def test_numpy_array(self) -> None:
        numpy = pytest.importorskip("numpy")
        raw = numpy.zeros(5 * PAGE, dtype=numpy.uint8)
        skip = -raw.ctypes.data % PAGE
        array = raw[skip : skip + 4 * PAGE]
        with SharedMemory.from_buffer(array) as memory:
            with SnapshotManager(memory) as manager:
                manager.take()
                array[2 * PAGE + 1] = 5
                assert list(manager.changed()) == [2]
                manager.restore()
                assert not array.any()
        # the neighbours on the same allocation were never touched
        array[:] = 3
        assert raw.sum() == 3 * 4 * PAGE

    @pytest.mark.parametrize(
        ("first", "last", "says"),
        [
            (1, PAGE + 1, "does not start on a page boundary"),
            (0, PAGE - 1, "does not end on a page boundary"),
            (0, 0, "empty"),
        ],
    )
    def test_not_aligned(self, first: int, last: int, says: str) -> None:
        backing = mmap.mmap(-1, 2 * PAGE)
        with pytest.raises(ValueError, match=says):
            SharedMemory.from_buffer(memoryview(backing)[first:last])
        backing.close()  # nothing is held

    def test_wrong_objects(self) -> None:
        for bad, error in (
            (None, TypeError),
            ("text", TypeError),
            (b"read only" * PAGE, BufferError),
            (mmap.mmap(-1, PAGE, access=mmap.ACCESS_READ), (BufferError)),
            (memoryview(bytearray(64))[::2], BufferError),
        ):
            with pytest.raises(error):
                SharedMemory.from_buffer(bad)

    def test_protected_memory(self) -> None:
        backing = mmap.mmap(-1, 4 * PAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(backing))
        libc = ctypes.CDLL(None)
        libc.mprotect(ctypes.c_void_p(address + PAGE), PAGE, 1)
        with pytest.raises(ValueError, match="readable and writable"):
            SharedMemory.from_buffer(backing)

    def test_half_made(self) -> None:
        memory = SharedMemory.__new__(SharedMemory)
        assert memory.closed
        memory.close()
        with pytest.raises(ValueError, match="closed"):
            memory.read(0, 1)


def test_repr() -> None:
    with SharedMemory("3MiB") as memory:
        assert repr(memory) == f"<SharedMemory 3 MiB at {memory.address:#x}>"


@pytest.mark.skipif(sys.flags.dev_mode, reason="python -X dev")
def test_unclosed_warns_in_dev_mode() -> None:
    result = run_python(
        "import hyperlight as h; m = h.SharedMemory(9); "
        "s = h.SnapshotManager(m); del s, m",
        env={"PYTHONDEVMODE": "1"},
    )
    assert "unclosed <SharedMemory" in result.stderr
    assert "unclosed <SnapshotManager" in result.stderr
