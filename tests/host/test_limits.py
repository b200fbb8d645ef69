"""The limits are as docs/explanation/limits.md says, tried one by one."""

from __future__ import annotations

import os
import platform

import pytest
from conftest import HERE, require_tracker, run_python

COLUMNS = ("uffd", "uffd-sigbus", "sigsegv")

ROADS = {
    "/proc/self/mem": ("seen", "EIO", "unseen"),
    "ptrace": ("seen", "EIO", "unseen"),
    "process_vm_writev": ("seen", "EFAULT", "EFAULT"),
    "read with O_DIRECT": ("seen", "EFAULT", "EFAULT"),
    "a pinned page": ("unseen", "unseen", "unseen"),
    "another mapping": ("unseen", "unseen", "unseen"),
    "write to the file": ("unseen", "unseen", "unseen"),
    "mlock": ("seen", "ENOMEM", "seen"),
    "MADV_POPULATE_WRITE": ("seen", "EFAULT", "EINVAL"),
}


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.unsanitized  # which has memory and handlers of its own
@pytest.mark.parametrize("column", COLUMNS)
def test_road(road: str, column: str) -> None:
    require_tracker(column)
    if road == "a pinned page" and platform.machine() != "x86_64":
        pytest.skip("numbers of io_uring's calls are for x86-64")
    result = run_python("limits.py", road, column)
    assert result.returncode == 0, result
    how = result.stdout.strip()
    if how.startswith("absent"):
        pytest.skip(how)
    if road == "mlock" and how in ("EPERM", "ENOMEM") and column != COLUMNS[1]:
        pytest.skip("RLIMIT_MEMLOCK leaves no room to lock")
    assert how == ROADS[road][COLUMNS.index(column)]


@pytest.mark.parametrize("road", ROADS)
def test_full_sees_every_road(road: str) -> None:
    result = run_python("limits.py", road, "full")
    assert result.returncode == 0, result
    assert result.stdout.strip() != "unseen"


def test_the_docs_have_the_same_table() -> None:
    page = HERE.parent / "docs/explanation/limits.md"
    if not os.path.exists(page):
        pytest.skip("the documentation is not beside the tests")
    rows = [
        [cell.strip(" `") for cell in line.strip("|\n").split("|")]
        for line in page.read_text().splitlines()
        if line.startswith("| ")
    ]
    assert rows[0] == ["what happens to an armed page", *COLUMNS]
    shown = {row[0]: tuple(row[1:]) for row in rows[2:]}
    assert shown == ROADS
