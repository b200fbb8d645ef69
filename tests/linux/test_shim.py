"""The guest's side, in every interpreter of this host."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_machine import FakeConversation, FakePython
from python_sandboxes import Make

from hyperlight.linux.conversation import Start
from hyperlight.linux.python import PythonResult

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.unsanitized,  # the interpreter is another process
]


class Script:
    """Runs scripts one after the other, each where the last one ended."""

    def __init__(self, make: Make, python: str | None, **kwargs: object):
        self.sandbox = make(python, **kwargs)

    def __call__(self, code: str, **inputs: object) -> PythonResult:
        result = self.sandbox.run(code, inputs=inputs or None, keep=True)
        self.sandbox._kept = False  # a process has no snapshots
        return result


@pytest.fixture
def run(make: Make, interpreter_path: str) -> Script:
    return Script(make, interpreter_path)


@pytest.fixture
def here(make: Make) -> Script:
    return Script(make, None)


VALUES = [
    ("1 + 1", 2),
    ("x = 5\nx", 5),
    ("x = 5", None),
    ("", None),
    ("# nothing", None),
    ("pass", None),
    ("if True:\n    7", None),
    ("a = 1; a + 1", 2),
    ("a = ';'\na", ";"),
    ("[1,\n2\n]", [1, 2]),
    ("(1,\n2\n)\n# end\n", (1, 2)),
    ("x = '''\n5\n'''\nlen(x)", 3),
    ("'''\n5\n'''", "\n5\n"),
    ("x = 1 + \\\n2", None),
    ("1 + \\\n2", 3),
    ("def f():\n    return 3\nf()", 3),
    ("for i in range(3):\n    i\nelse:\n    i", None),
    ("if 1:\n    x = 2\n\nx", 2),
    ("try:\n    1/0\nexcept ZeroDivisionError:\n    y = 1\ny", 1),
    ("lambda: 0\n\n\n3 if True else 4", 3),
    ("not 1", False),
    ("None", None),
    (
        "from __future__ import annotations\ndef f(x: no): 0\n"  # noqa: ISC004
        "f.__annotations__",
        {"x": "no"},
    ),
    ("import asyncio\nawait asyncio.sleep(0, 4)", 4),
    ("import asyncio\nx = await asyncio.sleep(0, 4)\nx + 1", 5),
    ("async def f():\n    return 3\nawait f()", 3),
    ("if True:\n  x = 1\n  # odd\nx\n\n", 1),
    ("x = 1\r\nx\r\n", 1),
    ("\n\n  \nx = [\n0\n]\nx[0]", 0),
    ("@lambda f: 9\ndef g():\n    pass\ng", 9),
    ("match 3:\n    case 3:\n        z = 1\nz", 1),
    ("__name__", "__main__"),
]  # fmt: skip


def test_the_value_is_that_of_the_last_expression(run: Script) -> None:
    for code, value in VALUES:
        result = run(code)
        assert result.error is None, (code, result.error.traceback)
        assert result.value == value, code
    assert not run("x = 5").has_value
    assert run("None").has_value
    assert run("None").repr == "None"
    assert run("x = 5").repr is None


def test_values_that_are_not_plain(run: Script) -> None:
    result = run("class A:\n    def __repr__(self):\n        return 'me'\nA()")
    assert (result.value, result.repr, result.plain) == (None, "me", False)
    result = run("[1, {2}]")
    assert (result.value, result.repr) == (None, "[1, {2}]")
    result = run("class B:\n    def __repr__(self):\n        1/0\nB()")
    assert result.repr == "<B object, whose repr raised ZeroDivisionError>"
    result = run("class C(str):\n    pass\nC('x' * 10**6)")
    assert result.repr is not None
    assert len(result.repr) < 70_000
    assert "more characters" in result.repr
    assert run("10 ** 5000").value == 10**5000
    assert run("10 ** 5000").repr is not None


def test_errors(run: Script) -> None:
    code = "def f(x):\n    return 1 / x\n\nf(0)\n"
    error = run(code).error
    assert error is not None
    assert (error.type, error.message) == (
        "ZeroDivisionError",
        "division by zero",
    )
    text = error.traceback
    assert text.startswith("Traceback (most recent call last):\n")
    assert "line 4, in <module>\n    f(0)\n" in text
    assert "line 2, in f\n    return 1 / x\n" in text
    assert "_hyperlight" not in text
    assert "compiling" not in text


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("1 +", "SyntaxError"),
        ("if True:\nx", "IndentationError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("exit()", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def f():\n    f()\nf()", "RecursionError"),
        ("x = [0] * (1 << 60)", "MemoryError"),
        ("'\\ud800'.encode()", "UnicodeEncodeError"),
        ("input()", "EOFError"),
        ("raise type('E', (BaseException,), {})('x')", "E"),
        ("import json\njson.loads('{')", "json.decoder.JSONDecodeError"),
    ],
)
def test_whatever_ends_a_script_is_its_error(
    here: Script, code: str, kind: str
) -> None:
    error = here(code).error
    assert error is not None
    assert error.type == kind
    assert error.type.rpartition(".")[2] in error.traceback
    assert here("1").value == 1


def test_hostile_exceptions(here: Script) -> None:
    error = here(
        "class E(Exception):\n    def __str__(self):\n        1/0\nraise E"
    ).error
    assert error is not None
    assert error.message == "<no text: str() failed>"
    error = here("raise ValueError('x' * 10**6)").error
    assert error is not None
    assert len(error.message) < 70_000
    assert len(error.traceback) < 70_000
    error = here("e = ValueError()\ne.__cause__ = e\nraise e").error
    assert error is not None
    assert error.type == "ValueError"


def test_code_with_nul_and_surrogates(here: Script) -> None:
    for code in ("x = 1\0", "'\ud800'"):
        error = here(code).error
        assert error is not None
        assert "Error" in error.type


def test_a_chain_of_exceptions_shows_no_frame_of_ours(here: Script) -> None:
    error = here(
        "import host\ntry:\n    host.nope\nexcept AttributeError:\n    1/0"
    ).error
    assert error is not None
    assert "During handling" in error.traceback
    assert "_hyperlight" not in error.traceback
    assert "host.py" not in error.traceback


def test_lines_of_earlier_scripts_are_shown(run: Script) -> None:
    run("def f():\n    return 1 / 0  # here")
    error = run("'other'\nf()").error
    assert error is not None
    assert "return 1 / 0  # here" in error.traceback


def test_output(run: Script) -> None:
    result = run(
        "import sys\nprint('a', end='')\nprint('b', file=sys.stderr)\n"
        "print('\\ud800é')"
    )
    assert result.stdout == "a\\ud800é\n"
    assert result.stderr == "b\n"
    assert run("import os\nos.write(1, b'\\xff\\n')").stdout == "\\xff\n"
    assert run("import sys\nsys.stdout = None\n3").value == 3


def test_the_whole_standard_library_can_be_imported_late(run: Script) -> None:
    result = run(
        """
import importlib, pkgutil, sys, warnings
warnings.simplefilter("ignore")
skip = {"antigravity", "this", "idlelib", "tkinter", "turtle", "turtledemo",
        "test", "lib2to3", "ensurepip", "readline", "rlcompleter", "nis",
        "curses"}
failed = {}
for name in sorted(sys.stdlib_module_names):
    if name in skip or name.startswith(("_test", "_xx", "xx", "_tkinter")):
        continue
    try:
        importlib.import_module(name)
    except ImportError as error:
        failed[name] = str(error)
{n: t for n, t in failed.items() if "extension module" in t}
"""
    )
    assert result.error is None, result.error.traceback
    assert result.value == {}


def test_other_extension_modules_say_what_to_do(here: Script) -> None:
    error = here("import _testcapi").error
    assert error is not None
    assert error.type == "ImportError"
    assert "preload=" in error.message
    again = "import math, sys\ndel sys.modules['math']\nimport math\nmath.pi"
    assert here(again).value == pytest.approx(3.14159265)


def test_each_request_has_new_randomness(make: Make, here: Script) -> None:
    code = "import random, uuid\n[random.random(), str(uuid.uuid4())]"
    first, second = here(code).value, Script(make, None)(code).value
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_the_entropy_decides(here: Script) -> None:
    """What a generator in memory draws comes from the request alone."""
    reseed = (
        "import sys, random\nm = sys.modules['_hyperlight.fresh']\n"
        "def draw(e):\n    random.gauss()\n    m.reseed(e, True)\n"
        "    return [random.random(), random.gauss()]\n"
        "draw(b'1' * 32) == draw(b'1' * 32) != draw(b'2' * 32)"
    )
    if here("import sys\nsys.version_info >= (3, 11)").value:
        assert here(reseed).value is True


def test_garbage_is_collected(here: Script) -> None:
    assert here(
        "import weakref\nclass A:\n    pass\na = A()\na.me = a\n"
        "w = weakref.ref(a)\ndel a\nfor i in range(5000):\n    x = [[]]\n"
        "    x.append(x)\nw() is None"
    ).value


def test_inputs(here: Script) -> None:
    inputs = {"a": [1, (2.5, b"x")], "b": {"k": None}}
    assert here("[a, b]", **inputs).value == [*inputs.values()]


def test_a_request_larger_than_the_usual_room(here: Script) -> None:
    text = "x" * 150_000
    assert here("len(text)", text=text).value == len(text)
    assert here("text", text=text).value == text
    assert here("1").value == 1


CLOCK = """
#define _GNU_SOURCE
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>
int clock_gettime(clockid_t clock, struct timespec *time)
{
    return syscall(SYS_clock_gettime, clock, time);
}
"""


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that asks the system for the time.

    As in a guest: there, nothing is mapped to read it from.
    """
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(CLOCK)
    command = ["gcc", "-shared", "-fPIC", "clock.c", "-o", "clock.so"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "clock.so"


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("pass", 0),
        ("sum(i * i for i in range(1000))", 0),
        ("import json\nd = {'a': [1, 2]}\njson.loads(json.dumps(d))", 0),
        ("import re\nfor i in range(40):\n    re.match(r'(a+)b', 'aab')", 0),
        ("print('hello')", 1),
        ("1 / 0", 0),
    ],
)
def test_system_calls_of_a_run(
    tmp_path: Path, clock: Path, code: str, more: int
) -> None:
    """One write and one read, if the script itself makes none."""
    trace = tmp_path / "trace"

    class Clocked(FakePython):
        @staticmethod
        def _opener(start: Start) -> FakeConversation:
            wrapper = ("env", f"LD_PRELOAD={clock}")
            return FakeConversation(start, wrapper)

    with Clocked() as sandbox:
        conversation = sandbox._conversation
        assert isinstance(conversation, FakeConversation)
        assert conversation.process is not None
        waits = f"read({conversation.descriptor}, "
        pid = conversation.process.pid
        conversation.come_up()
        with subprocess.Popen(
            ["strace", "-o", trace, "-p", str(pid)]
        ) as tracer:
            until(lambda: trace.exists() and waits in trace.read_text())
            sandbox.run(code, keep=True)
            until(lambda: trace.read_text().endswith(waits))
            tracer.terminate()
    calls = trace.read_text().splitlines()
    names = [call.partition("(")[0] for call in calls]
    assert names[: 3 + more] == ["read", *["write"] * (1 + more), "read"]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
