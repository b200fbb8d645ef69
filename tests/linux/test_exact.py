"""Guarantees 6 and 8 over programs: a run leaves nothing for the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hyperlight import (
    Files,
    GuestTimeout,
    LimitExceeded,
    ProgramExited,
    PythonSandbox,
    SandboxConfig,
    trackers,
)

pytestmark = pytest.mark.any_python

SCRIPTS = {
    "nothing": "pass",
    "computes": "sum(i * i for i in range(1000))",
    "json": "import json\njson.loads(json.dumps({'a': [1, 2.5, None]}))",
    "regex": "import re\n[re.sub(r'\\d+', 'x', f'a{i}') for i in range(40)]",
    "memory": "x = [bytes(4096) for _ in range(500)]\nlen(x)",
    "large": "x = bytearray(8 << 20)\nx[::4096] = b'a' * 2048\nlen(x)",
    "files": (
        "import os\n"
        "os.makedirs('/tmp/a/b')\n"
        "open('/tmp/a/b/c', 'w').write('x' * 100000)\n"
        "os.rename('/tmp/a', '/tmp/z')\nos.chdir('/tmp/z')\nos.listdir('.')"
    ),
    "descriptors": (
        "import os\nf = [os.open('/dev/null', 0) for _ in range(20)]\n"
        "os.dup2(f[0], 100)\nos.close(f[1])"
    ),
    "maps": "import mmap\nm = mmap.mmap(-1, 1 << 20)\nm[:5] = b'hello'",
    "signals": (
        "import signal\nsignal.signal(signal.SIGUSR1, lambda *a: None)\n"
        "signal.raise_signal(signal.SIGUSR1)"
    ),
    "fails": "1 / 0",
    "prints": "print('x' * 5000)",
    "modules": "import sys\nsys.modules['os'].path = None\ndel sys.path[:]",
    "threads": "import threading\nthreading.Thread(target=print).start()",
    "recursion": "def f(): f()\nf()",
    "exits": "import os\nos._exit(3)",
    "crashes": "import ctypes\nctypes.string_at(0)",
    "spins": "while True: pass",
    "talks": "while True: print('x' * 1000)",
}


def _tracker_names() -> list[str]:
    return [info.name for info in trackers() if info.name.startswith("kvm")]


@pytest.fixture(params=["auto", *_tracker_names()])
def sandbox(
    request: pytest.FixtureRequest, python_driver: str
) -> Iterator[PythonSandbox]:
    if request.param != "auto" and python_driver not in request.param:
        pytest.skip(f"driver {python_driver} does not have this tracker")
    config = SandboxConfig(
        driver=python_driver,
        tracker=request.param,
        output_limit="64KiB",
        call_timeout=30,
    )
    files = Files().temporary()
    with PythonSandbox(memory="64MiB", config=config, files=files) as made:
        yield made


def differing(sandbox: PythonSandbox) -> int:
    """Pages that are not as they were, by comparing all of them."""
    return len(sandbox.changed(everything=True))


def test_every_kind_of_run_is_undone(sandbox: PythonSandbox) -> None:
    for _ in range(2):
        for name, script in SCRIPTS.items():
            timeout = 0.3 if name == "spins" else None
            try:
                sandbox.run(script, timeout=timeout)
            except (GuestTimeout, LimitExceeded, ProgramExited) as error:
                assert name in ("spins", "talks", "exits", "crashes"), error
            assert differing(sandbox) == 0, name
            assert sandbox.run("'x' in globals()").value is False


def test_what_a_run_did_is_not_seen_by_the_next(
    sandbox: PythonSandbox,
) -> None:
    look = "import os, sys\n(os.listdir('/'), os.getcwd(), len(sys.modules))"
    before = sandbox.run(look).value
    sandbox.run(SCRIPTS["files"])
    sandbox.run("import os\nos.chdir('/dev')\nos.mkdir('/new')")
    assert sandbox.run(look).value == before


def test_each_way_to_end_has_an_error_of_its_own(
    sandbox: PythonSandbox,
) -> None:
    with pytest.raises(ProgramExited) as exited:
        sandbox.run("print('last words')\n" + SCRIPTS["exits"])
    assert exited.value.exit_code == 3
    assert exited.value.stdout == b"last words\n"
    with pytest.raises(ProgramExited) as crashed:
        sandbox.run(SCRIPTS["crashes"])
    assert crashed.value.signal == 11
    with pytest.raises(LimitExceeded) as limited:
        sandbox.run(SCRIPTS["talks"])
    assert limited.value.limit == "output_limit"
    assert len(limited.value.stdout) > 32 << 10
    with pytest.raises(GuestTimeout):
        sandbox.run("print('begun')\n" + SCRIPTS["spins"], timeout=0.3)
    assert sandbox.run("6 * 7").value == 42
