"""A machine's descriptors that somebody else closed, while it was in use."""

from __future__ import annotations

import pytest
from conftest import run_python

START = """
import os, sys
from hyperlight import Sandbox, SandboxConfig
from hyperlight._binding import core

def made():
    core.drop_blank_machines()
    before = set(os.listdir("/proc/self/fd"))
    sandbox = Sandbox("simple", config=SandboxConfig(driver=sys.argv[1]))
    new = set(os.listdir("/proc/self/fd")) - before
    return sandbox, sorted(int(fd) for fd in new if is_open(fd))

def is_open(fd):
    return os.path.lexists(f"/proc/self/fd/{fd}")

def machines(fds):  # the fake of /dev/mshv has event files, and its own
    kinds = ("[eventfd]", "mshv") if sys.argv[1] == "mshv" else ("kvm-",)
    return [fd for fd in fds if any(kind in link_of(fd) for kind in kinds)]

def link_of(fd):
    return os.readlink(f"/proc/self/fd/{fd}")

kept = made()  # what a process opens once is open by now
"""


def run(script: str, driver: str) -> None:
    result = run_python(START + script, driver)
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


@pytest.mark.parametrize(
    "another", ["os.eventfd(0)", "os.open('/dev/null', os.O_RDONLY)"]
)
def test_another_file_by_one_of_the_numbers(driver: str, another: str) -> None:
    """Of the same inode, or not: it stays open."""
    script = f"""
for which in range(len(machines(kept[1]))):
    sandbox, ours = made()
    another = os.dup2({another}, machines(ours)[which])
    link = link_of(another)
    sandbox.close()
    core.drop_blank_machines()
    assert is_open(another)
    assert link_of(another) == link
print("done")
"""
    run(script, driver)


def test_another_machine_by_the_same_numbers(driver: str) -> None:
    """Of two that have them, one after the other, the second has its own."""
    script = """
first, ours = made()
for fd in ours:
    os.close(fd)
second, theirs = made()
assert theirs == ours
first.close()
core.drop_blank_machines()
assert second.call("Counter") == 1
second.restore()
second.verify()
print("done")
"""
    run(script, driver)
