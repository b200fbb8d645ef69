"""Unmodified programs of this host, on each driver that can run them."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from programs import PROGRAMS, ROOT, files_for, require, why_no_programs

from hyperlight import (
    GuestTimeout,
    Program,
    ProgramExited,
    SandboxConfig,
)
from hyperlight.linux.calls import call_name

PAGE = ROOT / "docs/reference/programs.md"

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.skipif(
        not PAGE.exists(), reason="the documentation is not beside the tests"
    ),
]
RUN = [name for name, tried in PROGRAMS.items() if tried.stdout]
BAKED = [name for name, tried in PROGRAMS.items() if tried.shim is not None]


@pytest.fixture
def programs_on(driver: str) -> str:
    """Each driver on which programs run, one after the other."""
    why = why_no_programs(driver)
    if why is not None:
        pytest.skip(why)
    return driver


@pytest.mark.parametrize("name", RUN)
def test_it_runs(name: str, programs_on: str, tmp_path: Path) -> None:
    found = require(name, tmp_path)
    tried = found.tried
    done = found.program(tried.arguments, programs_on).run(
        tried.stdin, timeout=170
    )
    assert (done.stdout, done.exit_code) == (tried.stdout, 0), done
    assert done.stderr == b""
    assert set(done.refused) <= {call_name(n) for n in tried.refused}


@pytest.mark.parametrize("name", BAKED)
def test_it_answers_and_is_put_back(
    name: str, programs_on: str, tmp_path: Path
) -> None:
    found = require(name, tmp_path)
    tried = found.tried
    assert tried.shim is not None
    script = f"/{tried.shim_file.name}" if tried.shim_file else ""
    arguments = tuple(a.replace("{}", script) for a in tried.shim)
    program = found.program(arguments, programs_on)
    # Pages that only the library writes: what is read is the request.
    request = tried.request + b" " * 40_000
    with program.bake(timeout=170) as sandbox:
        for _ in range(3):
            assert sandbox.request(request).rstrip() == tried.answer
            sandbox.request(request)
            assert len(sandbox.changed(everything=True)) > 0
            sandbox.restore()
            assert len(sandbox.changed(everything=True)) == 0


def test_what_is_not_served_is_refused_and_named(
    programs_on: str, tmp_path: Path
) -> None:
    found = require("busybox", tmp_path)
    done = found.program(("sh", "-c", "echo a | cat"), programs_on).run()
    assert done.exit_code != 0
    assert b"sh: " in done.stderr
    # pipe, clone, fork, vfork, pipe2
    assert set(done.refused) & {call_name(n) for n in (22, 56, 57, 58, 293)}


def test_a_run_has_a_time_limit(programs_on: str, tmp_path: Path) -> None:
    found = require("busybox", tmp_path)
    endless = ("sh", "-c", "echo so far; while :; do :; done")
    for start, what in (("run", "run took"), ("bake", "start took")):
        begun = time.monotonic()
        with pytest.raises(GuestTimeout, match=what) as caught:
            getattr(found.program(endless, programs_on), start)(timeout=3)
        assert time.monotonic() - begun < 30
        assert caught.value.stdout == b"so far\n"
    # A run is not a start, which has a limit that is not for runs.
    config = SandboxConfig(driver=programs_on, start_timeout=0.01)
    files = files_for(found.path)
    argv = [found.path, "sleep", "0.3"]
    assert Program(argv, files=files, config=config).run().exit_code == 0


def test_an_end_in_place_of_a_request(
    programs_on: str, tmp_path: Path
) -> None:
    found = require("busybox", tmp_path)
    with pytest.raises(ProgramExited, match="exited with 3") as caught:
        found.program(("sh", "-c", "echo out; exit 3"), programs_on).bake()
    assert caught.value.stdout == b"out\n"


def test_the_page_has_these_programs(driver: str) -> None:
    """Its table names each, and has a column for each driver."""
    text = PAGE.read_text().partition("## Programs that were tried")[2]
    head, _, *rows = re.findall(r"^\| (.*?) \| (.*) \|$", text, re.MULTILINE)
    assert head[0] == "program"
    assert f"`{driver}`" in head[1]
    assert [name.strip("`") for name, _ in rows] == list(PROGRAMS)
    for name, row in rows:
        served = row.split(" | ")[:3]
        for cell in served:
            assert ("back" in cell) == (name.strip("`") in BAKED), name
            assert ("runs" in cell or "same" in cell) == (
                name.strip("`") in RUN
            ), name
