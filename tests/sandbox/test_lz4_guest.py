"""A library that nobody here wrote, in a sandbox: the how-to's guest."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hyperlight import GuestError, Sandbox, guest

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.unsanitized,
]

SOURCE = Path(__file__).parents[2] / "docs/howto/lz4_guest.c"
LIBRARIES = ("/usr/lib/x86_64-linux-gnu/liblz4.a", "/usr/lib64/liblz4.a",
             "/usr/lib/liblz4.a")  # fmt: skip

New = Callable[..., Sandbox]


@pytest.fixture(scope="session")
def lz4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not SOURCE.exists():
        pytest.skip("the documentation is not beside the tests")
    if not any(Path(path).exists() for path in LIBRARIES):
        pytest.skip("no liblz4.a: package liblz4-dev has it")
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    target = tmp_path_factory.mktemp("guests") / "lz4_guest"
    return guest.build(SOURCE, target, libraries=["lz4"])


def real_files() -> list[bytes]:
    """Of this interpreter and this machine: text, machine code, both."""
    import ctypes
    import os
    import pickle

    paths = [os.__file__, ctypes.__file__, pickle.__file__, "/proc/self/exe"]
    return [Path(path).read_bytes()[: 3 << 20] for path in paths]


def test_real_files_go_through_it(new_sandbox: New, lz4: Path) -> None:
    sandbox = new_sandbox(
        lz4, heap_size="16MiB", input_size="8MiB", output_size="8MiB"
    )
    for data in [b"", b"x", bytes(100_000), *real_files()]:
        packed = sandbox.call("Compress", data)
        sandbox.restore()
        assert sandbox.call("Decompress", packed, len(data)) == data
        sandbox.restore()
        sandbox.verify()
        if len(data) > 1000:
            assert len(packed) < len(data)


def test_garbage_does_no_harm(new_sandbox: New, lz4: Path) -> None:
    sandbox = new_sandbox(lz4, heap_size="4MiB", output_size="2MiB")
    packed = bytearray(sandbox.call("Compress", b"some text " * 1000))
    for i in range(len(packed)):
        packed[i] ^= 0xA5
        with contextlib.suppress(GuestError):
            sandbox.call("Decompress", bytes(packed), 10_000)
        packed[i] ^= 0xA5
        assert not sandbox.poisoned
    assert (
        sandbox.call("Decompress", bytes(packed), 10_000)[:9] == b"some text"
    )
