"""A closed sandbox's machine is used again, and nothing else of it."""

from __future__ import annotations

import errno
import os
import resource
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hyperlight import GuestAborted, Sandbox, SandboxConfig
from hyperlight._binding import core
from hyperlight.sandbox import images

MOST = 4  # HL_BLANKS


@pytest.fixture(autouse=True)
def none_is_blank() -> Iterator[None]:
    core.drop_blank_machines()
    yield
    core.drop_blank_machines()


@pytest.fixture
def config(driver: str) -> SandboxConfig:
    """Of a driver whose machines can be used again."""
    config = SandboxConfig(driver=driver)
    Sandbox("simple", config=config).close()
    if not core.blank_machines():
        pytest.skip(f"driver {driver}: machines are not used again")
    return config


def machines() -> int:
    """Virtual machines that this process has, in use or blank."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        link = f"/proc/self/fd/{name}"
        if os.path.lexists(link):
            found += os.readlink(link).endswith("kvm-vm")
    return found


def test_one_machine_serves_many_sandboxes(config: SandboxConfig) -> None:
    for _ in range(10):
        with Sandbox("simple", config=config) as sandbox:
            assert core.blank_machines() == 0
            assert sandbox.call("Counter") == 1
            assert sandbox.call("Counter") == 2
            sandbox.restore()
            assert sandbox.call("Counter") == 1
            sandbox.verify()
        assert core.blank_machines() == 1


def test_nothing_of_the_last_guest_is_left(config: SandboxConfig) -> None:
    secret = b"the last guest's own bytes"
    with Sandbox("simple", config=config) as sandbox:
        address = sandbox.call("Allocate", 40_000)
        assert isinstance(address, int)
        for at in range(0, 40_000, 1000):
            sandbox.call("Write", address + at, secret)
        sandbox.snapshot()
        sandbox.call("Echo", secret.decode())
        layout = sandbox.layout
    assert core.blank_machines() == 1
    with Sandbox("simple", config=config) as sandbox:
        assert core.blank_machines() == 0
        assert sandbox.layout is layout
        for region in layout:
            if region.permissions == "---":
                continue
            for at in range(region.address, region.end, 4096):
                page = sandbox.call("Read", at, 4096)
                assert isinstance(page, bytes)
                assert secret not in page, region.name


def test_snapshots_survive_and_fit(config: SandboxConfig) -> None:
    with Sandbox("simple", config=config) as sandbox:
        sandbox.call("Counter")
        snapshot = sandbox.snapshot()
    with Sandbox("simple", config=config) as sandbox:
        assert sandbox.call("Counter") == 1
        sandbox.restore(snapshot)
        assert sandbox.call("Counter") == 2
        sandbox.verify()


def test_after_a_fault_it_is_not_used_again(config: SandboxConfig) -> None:
    core.drop_blank_machines()
    with Sandbox("simple", config=config) as sandbox:
        with pytest.raises(GuestAborted):
            sandbox.call("Fault", "undefined")
    assert core.blank_machines() == 0
    with Sandbox("simple", config=config) as sandbox:
        with pytest.raises(GuestAborted):
            sandbox.call("Fault", "undefined")
        sandbox.restore()
    assert core.blank_machines() == 1
    with Sandbox("simple", config=config) as sandbox:
        assert sandbox.call("Counter") == 1


def test_few_are_kept(config: SandboxConfig) -> None:
    before = machines()
    live = [Sandbox("simple", config=config) for _ in range(2 * MOST)]
    for sandbox in live:
        sandbox.close()
    assert core.blank_machines() == MOST
    assert machines() - before <= MOST
    assert core.drop_blank_machines() == MOST
    assert core.drop_blank_machines() == 0


def test_one_that_used_much_memory_is_not_kept(config: SandboxConfig) -> None:
    large = SandboxConfig(driver=config.driver, heap_size="16MiB")
    core.drop_blank_machines()
    with Sandbox("simple", config=large) as sandbox:
        address = sandbox.call("Allocate", 8 << 20)
        sandbox.call("FillHeap", address, 8 << 20, 1)
    assert core.blank_machines() == 0


def test_only_for_equal_memory_and_tracker(config: SandboxConfig) -> None:
    others = [
        SandboxConfig(driver=config.driver, heap_size="1MiB"),
        SandboxConfig(driver=config.driver, stack_size="128KiB"),
    ]
    for other in others:
        with Sandbox("simple", config=other) as sandbox:
            assert core.blank_machines() == 1
            assert sandbox.call("Counter") == 1
        core.drop_blank_machines()
        Sandbox("simple", config=config).close()
    full = SandboxConfig(driver=config.driver, tracker="full")
    for _ in range(3):
        for wanted in (full, config):
            with Sandbox("simple", config=wanted) as sandbox:
                assert (sandbox.tracker == "full") is (wanted is full)
                assert sandbox.call("Counter") == 1
                sandbox.restore()
                assert sandbox.call("Counter") == 1
                sandbox.verify()


def test_a_child_of_fork_has_none(config: SandboxConfig) -> None:
    live = Sandbox("simple", config=config)
    Sandbox("simple", config=config).close()
    assert core.blank_machines() == 1
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            live.close()
            if core.blank_machines() == 0:
                with Sandbox("simple", config=config) as sandbox:
                    status = 0 if sandbox.call("Counter") == 1 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert core.blank_machines() == 1
    with live:
        assert live.call("Counter") == 1
    with Sandbox("simple", config=config) as sandbox:
        assert sandbox.call("Counter") == 1


def test_given_up_where_descriptors_are_short(config: SandboxConfig) -> None:
    other = SandboxConfig(driver=config.driver, heap_size="1MiB")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    assert core.blank_machines() == 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        with Sandbox("simple", config=other) as sandbox:
            assert sandbox.call("Counter") == 1
    except OSError as error:
        assert error.errno == errno.EMFILE
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with Sandbox("simple", config=config) as sandbox:
        assert sandbox.call("Counter") == 1


def test_an_interrupt_of_the_last_one_does_not_reach_the_next(
    config: SandboxConfig,
) -> None:
    first = Sandbox("simple", config=config)
    first.interrupt()
    first.close()
    first.interrupt()
    with Sandbox("simple", config=config) as sandbox:
        assert sandbox.call("Counter") == 1


# Descriptors that somebody else closed: a blank machine has nobody who could
# have known of its own.


def in_child(check: Callable[[], bool]) -> None:
    """In a child of fork, which may close what it likes."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if check() else 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def close_all() -> None:
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)


def works(config: SandboxConfig) -> bool:
    with Sandbox("simple", config=config) as sandbox:
        first = sandbox.call("Counter")
        sandbox.restore()
        sandbox.verify()
        return first == 1 and sandbox.call("Counter") == 1


def test_a_child_of_fork_lets_go_of_them(config: SandboxConfig) -> None:
    core.drop_blank_machines()
    before = machines()
    live = Sandbox("simple", config=config)
    Sandbox("simple", config=config).close()
    assert machines() == before + 2

    def check() -> bool:
        live.close()
        return machines() == before

    in_child(check)
    live.close()


def test_its_descriptors_may_be_closed(config: SandboxConfig) -> None:
    def check() -> bool:
        good = works(config) and core.blank_machines() == 1
        close_all()
        return good and works(config) and core.blank_machines() == 1

    in_child(check)


@pytest.mark.parametrize("kind", ["file", "eventfd"])
def test_files_that_got_their_numbers_are_left_alone(
    config: SandboxConfig, kind: str
) -> None:
    def check() -> bool:
        good = True
        for use in (works, lambda _: core.drop_blank_machines()):
            works(config)
            close_all()
            if kind == "file":
                made = [os.open("/dev/null", os.O_RDONLY) for _ in range(9)]
            else:  # of the same inode as KVM's
                made = [os.eventfd(0) for _ in range(9)]
            links = [os.readlink(f"/proc/self/fd/{fd}") for fd in made]
            use(config)
            good = good and links == [
                os.readlink(f"/proc/self/fd/{fd}") for fd in made
            ]
        return good

    in_child(check)


def test_another_machine_that_got_their_numbers_is_not_run(
    config: SandboxConfig,
) -> None:
    other = SandboxConfig(driver=config.driver, heap_size="1MiB")

    def check() -> bool:
        works(config)
        close_all()
        with Sandbox("simple", config=other) as sandbox:
            assert core.blank_machines() == 1
            good = sandbox.call("Counter") == 1
            for _ in range(2):
                good = good and works(config)
            core.drop_blank_machines()
            good = good and sandbox.call("Counter") == 2
            sandbox.restore()
            sandbox.verify()
            return good and sandbox.call("Counter") == 1

    in_child(check)


def test_after_a_run_that_failed_it_is_not_used_again(
    config: SandboxConfig,
) -> None:
    def check() -> bool:
        core.drop_blank_machines()
        with Sandbox("simple", config=config) as sandbox:
            close_all()
            with pytest.raises(OSError, match="run"):
                sandbox.call("Counter")
        return core.blank_machines() == 0 and works(config)

    in_child(check)


# Files.


def test_a_file_that_is_rewritten_in_place_is_read_again(
    tmp_path: Path, driver: str
) -> None:
    from hyperlight.guest import shipped

    config = SandboxConfig(driver=driver)
    file = shipped("simple").read_bytes()
    path = tmp_path / "guest"
    path.write_bytes(file)
    times = os.stat(path)
    Sandbox(path, config=config).close()
    # The same size and times, and other bytes.
    path.write_bytes(b"\0" * len(file))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ValueError, match="not a guest"):
        Sandbox(path, config=config)


def test_equal_bytes_are_one_image() -> None:
    from hyperlight.guest import shipped

    path = shipped("simple")
    one = images.read_guest("simple")[1]
    assert images.read_guest(path)[1] is one
    assert images.read_guest(bytearray(path.read_bytes()))[1] is one
    config = SandboxConfig(heap_size="1MiB")
    same = SandboxConfig(heap_size=1 << 20, call_timeout=1)
    assert one.plan(config) is one.plan(same)
    assert one.plan(config) is not one.plan(SandboxConfig())
    texts = ["Add(int32, int32) -> int32"]
    assert one.functions(list(texts)) is one.functions(list(texts))
    assert set(one.functions(["B() -> none"])) == {"B"}
    assert set(one.functions(texts)) == {"Add"}


def test_few_images_are_kept() -> None:
    from hyperlight.guest import shipped

    file = shipped("simple").read_bytes()
    for i in range(20):
        images.read_guest(file + bytes([i]))
    assert len(images._kept) == images._MOST
    last = images._kept[0]
    assert images.read_guest(file + bytes([19]))[1] is last
