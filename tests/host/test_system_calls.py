"""What a call and a restore ask of the kernel, counted."""

from __future__ import annotations

import collections
import re
import shutil
import subprocess
import sys

import pytest
from conftest import HERE, require_driver

SCRIPT = """
import os, sys
from hyperlight import Sandbox, SandboxConfig

config = SandboxConfig(driver="kvm", tracker=sys.argv[1])
with Sandbox("simple", config=config) as sandbox:
    for _ in range(100):
        sandbox.call("Echo", "warm")
        sandbox.restore()
    os.getppid()  # a mark
    for _ in range(10):
        sandbox.call("Echo", "call")
    os.getppid()
    for _ in range(30):
        sandbox.call("Echo", "warm")
        sandbox.restore()
    os.getppid()
    for _ in range(10):
        sandbox.call("Echo", "call")
        sandbox.restore()
    os.getppid()
"""


def count(tracker: str) -> list[dict[str, int]]:
    """System calls by name, ioctls by theirs, between the marks."""
    require_driver("kvm")
    if not shutil.which("strace"):
        pytest.skip("no strace")
    result = subprocess.run(
        ["strace", "-qq", sys.executable, "-c", SCRIPT, tracker],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=HERE,
    )
    if "PTRACE" in result.stderr or "ptrace" in result.stderr:
        pytest.skip("strace may not trace here")
    assert result.returncode == 0, result.stderr[-500:]
    parts = re.split(r"^getppid\(\).*\n", result.stderr, flags=re.MULTILINE)
    found = []
    for part in parts[1:-1]:
        names: collections.Counter[str] = collections.Counter()
        for line in part.splitlines():
            match = re.match(r"(\w+)\((?:\d+, (KVM_\w+))?", line)
            if match:
                names[match[2] or match[1]] += 1
        found.append(dict(names))
    return found


@pytest.mark.unsanitized
def test_one_kvm_run_between_two_looks_at_the_signal_mask() -> None:
    alone, _, restored = count("auto")
    assert alone == {"KVM_RUN": 10, "rt_sigprocmask": 20}
    assert restored == alone


@pytest.mark.unsanitized
def test_the_log_costs_one_call_more() -> None:
    alone, _, restored = count("kvm-log")
    assert alone == {"KVM_RUN": 10, "rt_sigprocmask": 20}
    assert restored == {**alone, "KVM_GET_DIRTY_LOG": 10}
