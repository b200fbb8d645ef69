"""Many sandboxes: alive together, and one after the other, without a leak."""

from __future__ import annotations

import errno
import gc
import os
import resource
from pathlib import Path

import pytest

from hyperlight import GuestAborted, Sandbox, SandboxConfig, registry
from hyperlight._binding import core

pytestmark = pytest.mark.any_python

ALIVE = {"kvm": 200, "mshv": 100, "emulator": 40}
BLANKS = 4  # closed machines that a process keeps
CYCLES = {"kvm": 2000, "mshv": 200, "emulator": 200}


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("\n")


def skip_if_pinned(driver: str) -> None:
    if next(d for d in registry.DRIVERS if d.name == driver).pins_memory:
        pytest.skip(f"driver {driver}: its memory is pinned")


def machines() -> int:
    """Of KVM: one is mapped until its memory is given back."""
    return Path("/proc/self/maps").read_text().count("kvm-vcpu")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident() -> int:
    """KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError


def test_many_alive(driver: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * ALIVE[driver] + 100
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"RLIMIT_NOFILE is {hard}, and {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    config = SandboxConfig(driver=driver)
    made = [Sandbox("simple", config=config) for _ in range(ALIVE[driver])]
    try:
        for i, sandbox in enumerate(made):
            sandbox.call("Write", sandbox.call("HeapBase") + 4096 * 20,
                         b"%d" % i)  # fmt: skip
        for i, sandbox in enumerate(made):
            at = sandbox.call("HeapBase") + 4096 * 20
            assert sandbox.call("Read", at, len(str(i))) == b"%d" % i
            sandbox.restore()
            assert sandbox.call("Counter") == 1
    finally:
        for sandbox in made:
            sandbox.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert machines() <= BLANKS


def cycle(config: SandboxConfig) -> None:
    with Sandbox("simple", config=config) as sandbox:
        sandbox.call("Counter")
        sandbox.snapshot()
        sandbox.restore()


# A sanitizer keeps what was freed, to catch its use.
@pytest.mark.unsanitized
@pytest.mark.timeout(600)
def test_create_and_close(driver: str) -> None:
    config = SandboxConfig(driver=driver)
    for _ in range(20):
        cycle(config)
    gc.collect()
    before = descriptors(), mappings(), resident(), core.counts()
    for _ in range(CYCLES[driver]):
        cycle(config)
    gc.collect()
    assert descriptors() == before[0]
    assert mappings() <= before[1] + 4  # the allocator may keep an arena
    assert resident() <= before[2] + 20_000
    assert core.counts() == before[3]


def test_errors_do_not_leak(driver: str) -> None:
    config = SandboxConfig(driver=driver)

    def fail() -> None:
        for guest in (b"", b"\x7fELF" + bytes(5000), "no such guest"):
            with pytest.raises((ValueError, OSError)):
                Sandbox(guest, config=config)
        with Sandbox("simple", config=config) as sandbox:
            for kind in ("undefined", "read-null"):
                with pytest.raises(GuestAborted):
                    sandbox.call("Fault", kind)
                sandbox.restore()

    for _ in range(3):
        fail()
    gc.collect()
    before = descriptors(), mappings(), core.counts()
    for _ in range(20):
        fail()
    gc.collect()
    assert descriptors() == before[0]
    assert mappings() < before[1] + 20  # one for each failure, at the least
    assert core.counts() == before[2]


@pytest.mark.unsanitized
def test_memory_that_is_not_touched_is_not_there(driver: str) -> None:
    """A large heap costs page tables, and nothing else."""
    skip_if_pinned(driver)
    small = SandboxConfig(driver=driver)
    large = SandboxConfig(
        driver=driver,
        heap_size="4GiB",
        input_size="256MiB",
        output_size="256MiB",
        stack_size="64MiB",
    )
    cycle(small)
    gc.collect()
    before = resident()
    sandbox = Sandbox("simple", config=large)
    with sandbox:
        assert resident() - before < 30_000
        address = sandbox.call("Allocate", 3 << 30)
        sandbox.call("FillHeap", address, 8 << 20, 1)
        assert resident() - before > 8_000
        sandbox.call("Write", address + (3 << 30) - 5, b"last")
        assert sandbox.call("Read", address + (3 << 30) - 5, 4) == b"last"
        sandbox.restore()
        sandbox.verify()
        assert sandbox.call("Read", address, 4) == bytes(4)
    gc.collect()
    assert resident() - before < 30_000


@pytest.mark.unsanitized
def test_large_inputs_are_given_back(driver: str) -> None:
    skip_if_pinned(driver)
    config = SandboxConfig(driver=driver, input_size="64MiB")
    with Sandbox("simple", config=config) as sandbox:
        data = bytes(50 << 20)
        sandbox.call("LargeParameters", data, "")
        del data
        before = resident()
        sandbox.restore()
        sandbox.call("Nothing")
        assert resident() < before - 40_000


def test_no_descriptors_left(driver: str) -> None:
    """A clear error, nothing lost, and all well when there are some again."""
    config = SandboxConfig(driver=driver)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    core.drop_blank_machines()
    with Sandbox("simple", config=config) as sandbox:
        before = descriptors()
        for extra in range(6):
            resource.setrlimit(resource.RLIMIT_NOFILE, (before + extra, hard))
            try:
                Sandbox("simple", config=config).close()
            except OSError as error:
                assert error.errno == errno.EMFILE
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        core.drop_blank_machines()
        assert descriptors() == before
        assert sandbox.call("Counter") == 1
        with Sandbox("simple", config=config) as other:
            assert other.call("Counter") == 1
