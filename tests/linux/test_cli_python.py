"""hyperlight python: a script's output, value, files and end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from commands import HERE, HYPERLIGHT, require_python, run, run_outside
from fake_machine import FakePython

from hyperlight import GuestAborted, GuestTimeout
from hyperlight.cli import inside
from hyperlight.cli import python as python_command

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.unsanitized,  # no C that others do not run
]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in place of a machine: what is tested is beside that."""
    monkeypatch.setattr(python_command, "PythonSandbox", FakePython)


@pytest.fixture
def machine() -> None:
    """What is tested needs a machine."""
    require_python()


def test_a_script_in_a_machine(machine: None) -> None:
    result = run_outside("python", "-c", "print('out')\n[6 * 7]")
    assert result.stdout == b"out\n[42]\n"
    assert result.returncode == 0
    assert result.stderr == b""  # no progress where nobody looks


def test_output_comes_as_it_is_written(machine: None) -> None:
    script = "import time\nprint('first')\ntime.sleep(30)"
    with subprocess.Popen(
        [*HYPERLIGHT, "python", "--timeout", "6", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=HERE,
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"first\n"
        came = time.monotonic()
        rest, stderr = started.communicate(timeout=60)
        assert time.monotonic() - came > 1
    assert rest == b""
    assert started.returncode == 124
    assert stderr == b"run took longer than 6 s (timeout)\n"


def test_files_in_and_out(machine: None, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").write_bytes(b"given")
    (tmp_path / "mine.py").write_text("def f(x):\n    return x[::-1]\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import mine\n"
        "open('/tmp/b', 'wb').write(mine.f(open('/data/a', 'rb').read()))\n"
        "open('/tmp/large', 'wb').write(b'x' * 5_000_000)\n"
        "open('/data/a', 'w')\n"
    )
    result = run(
        *("python", "--ro", f"{tmp_path / 'in'}:/data"),
        *("--path", str(tmp_path)),
        *("--out", f"/tmp/b:{tmp_path / 'b'}"),
        *("--out", f"/tmp/large:{tmp_path / 'large'}"),
        *("--out", f"/tmp/none:{tmp_path / 'none'}"),
        str(script),
    )
    assert result.exit_code == 1
    assert "Read-only file system" in result.stderr
    assert (tmp_path / "b").read_bytes() == b"nevig"
    assert (tmp_path / "large").read_bytes() == b"x" * 5_000_000
    assert "--out /tmp/none: FileNotFoundError: " in result.stderr
    assert not (tmp_path / "none").exists()
    assert (tmp_path / "in/a").read_bytes() == b"given"


def test_limits_end_it(machine: None) -> None:
    ended = run("python", "-c", "import os\nprint('x')\nos._exit(5)")
    assert (ended.exit_code, ended.stdout) == (1, "x\n")
    assert "exited with 5" in ended.stderr
    bomb = run("python", "--memory", "64MiB", "-c", "x = 'x' * (1 << 30)")
    assert bomb.exit_code == 1
    assert "MemoryError" in bomb.stderr
    large = run("python", "-c", "print('x' * (4 << 20))")
    assert (large.exit_code, len(large.stdout)) == (0, (4 << 20) + 1)
    endless = run("python", "-c", "while True: print('x' * 10_000)")
    assert endless.exit_code == 1
    assert 1 << 20 < len(endless.stdout) <= 16 << 20
    assert "output_limit" in endless.stderr


def test_preload(machine: None) -> None:
    pytest.importorskip("numpy")
    code = "import numpy\nfloat(numpy.arange(4).sum())"
    result = run("python", "--preload", "json,numpy", "-c", code)
    assert result.stdout == "6.0\n"
    result = run("python", "-c", code)
    assert "No module named 'numpy'" in result.stderr


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "status"),
    [
        ("'a'", "'a'\n", "", 0),
        ("None", "", "", 0),
        ("x = 1", "", "", 0),
        ("{1: object}[1]", "<class 'object'>\n", "", 0),
        ("import sys\nsys.exit(3)", "", "", 3),
        ("import sys\nsys.exit()", "", "", 0),
        ("exit(256 + 7)", "", "", 7),
        ("exit('why')", "", "why\n", 1),
        ("print('a')\nexit(True)", "a\n", "True\n", 1),
        ("import sys\nprint('e', file=sys.stderr)", "", "e\n", 0),
        ("print('\\x1b[2J\\t\\udc80')", "\x1b[2J\t\\udc80\n", "", 0),
    ],
)
def test_how_it_ends(
    process: None, code: str, stdout: str, stderr: str, status: int
) -> None:
    result = run("python", "-c", code)
    assert (result.stdout, result.stderr, result.exit_code) == (
        stdout, stderr, status,
    )  # fmt: skip


def test_a_traceback(process: None) -> None:
    result = run("python", "-c", "def f():\n    1 / 0\nf()")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Traceback (most recent call last):\n")
    assert "line 2, in f\n    1 / 0\n" in result.stderr
    assert result.stderr.endswith("\nZeroDivisionError: division by zero\n")


def test_where_a_script_comes_from(process: None, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_bytes("# coding: latin-1\n'é'\n".encode("latin-1"))
    assert run("python", str(script)).output == "'é'\n"
    assert run("python", "-", data=b"1 + 1").output == "2\n"


def test_another_interpreter(
    process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mypython").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in (str(tmp_path / "mypython"), "mypython"):
        result = run("python", "--python", name, "-c", "1")
        assert result.output == "1\n"


def as_json(code: str) -> tuple[int, Any]:
    result = run("python", "--json", "-c", code)
    assert result.stderr == ""
    return result.exit_code, json.loads(result.stdout)


def test_json(process: None) -> None:
    code = "import sys\nprint('o')\nsys.stderr.write('e')\n{'a': [1, 2.5]}"
    status, report = as_json(code)
    assert status == 0
    assert report.pop("stats")["seconds"] > 0
    assert report == {
        "value": {"a": [1, 2.5]},
        "repr": "{'a': [1, 2.5]}",
        "stdout": "o\n",
        "stderr": "e",
        "error": None,
    }
    status, report = as_json("1 / 0")
    assert status == 1
    assert report["value"] is report["repr"] is None
    assert report["error"]["type"] == "ZeroDivisionError"
    assert report["error"]["message"] == "division by zero"
    assert report["error"]["traceback"].startswith("Traceback")
    assert as_json("exit(9)")[0] == 9


@pytest.mark.parametrize(
    "code", ["b'a'", "float('nan')", "{1: 2}", "[{'a': b''}]", "2 << 20000"]
)
def test_what_json_has_not_is_only_shown(process: None, code: str) -> None:
    status, report = as_json(code)
    assert status == 0
    assert report["value"] is None
    assert isinstance(report["repr"], str)


def test_json_of_a_timeout(
    process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*args: Any, **kwargs: Any) -> None:
        error = GuestTimeout("run", 1)
        error.stdout = b"so far\xff"
        raise error

    monkeypatch.setattr(FakePython, "run", late)
    status, report = as_json("1")
    assert status == 124
    assert report == {
        "value": None,
        "repr": None,
        "stdout": "so far\\xff",
        "stderr": "",
        "error": {
            "type": "GuestTimeout",
            "message": "run took longer than 1 s (timeout)",
            "traceback": "",
        },
        "stats": None,
    }


def test_a_terminal_gets_progress_and_no_control_characters(
    machine: None,
) -> None:
    pty = pytest.importorskip("pty")
    parent, child = pty.openpty()
    try:
        subprocess.run(
            [*HYPERLIGHT, "python", "-c", "print('a\\x1b[5mb\\tc')"],
            stdout=child,
            stderr=child,
            check=True,
            timeout=60,
            cwd=HERE,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        )
        shown = os.read(parent, 100_000).decode()
    finally:
        os.close(parent)
        os.close(child)
    assert "Python warms up ..." in shown
    assert shown.endswith("a\\x1b[5mb\tc\r\n")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "Give a FILE, or - for standard input, or -c."),
        (["-c", "1", "file"], "Give a FILE"),
        (["/nonesuch.py"], "No such file"),
        (["--out", "a:b", "-c", "1"], "not of the form GUEST:HOST"),
        (["--out", "/a", "-c", "1"], "not of the form GUEST:HOST"),
        (["--out", "/a:/nonesuch/b", "-c", "1"], "no folder '/nonesuch'"),
        (["--ro", "/nonesuch", "-c", "1"], "No such file"),
        (["--path", "/nonesuch", "-c", "1"], "is not a folder"),
        (["--preload", "nonesuch", "-c", "1"], "no module or distribution"),
        (["--python", "nonesuch", "-c", "1"], "python='nonesuch'"),
        (["--memory", "lots", "-c", "1"], "'lots' is not a size"),
        (["--timeout", "-1", "-c", "1"], "not above 0"),
        (["--driver", "vmware", "-c", "1"], "valid are 'auto'"),
    ],
)
def test_what_cannot_run_is_status_2(
    process: None, args: list[str], says: str
) -> None:
    result = run("python", *args)
    assert result.exit_code == 2
    assert says in result.output
    assert "Traceback" not in result.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("code", ["print(1)", "1"])
def test_a_full_disk_is_one_line_and_status_2(
    machine: None, code: str
) -> None:
    with open("/dev/full", "w") as full:
        result = run_outside("python", "-c", code, stdout=full)
    assert result.returncode == 2
    assert result.stderr == (
        b"hyperlight: cannot write to standard output: "
        b"No space left on device\n"
    )


class Result(NamedTuple):
    value: object
    error: None = None


class Liar:
    """A sandbox in which a script has replaced what reads files."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.calls = 0

    def run(self, *args: object, **kwargs: object) -> Result:
        self.calls += 1
        assert self.calls < 1000
        return Result(self.answer)


@pytest.mark.parametrize("answer", ["text", None, b"x" * 100_000])
def test_what_is_read_is_not_believed(answer: object) -> None:
    with pytest.raises(GuestAborted, match="is no bytes"):
        inside.read_inside(Liar(answer), "/f", 50_000, 1)  # type: ignore[arg-type]


def test_an_endless_file_is_not_read_to_its_end() -> None:
    endless = Liar(b"x" * inside._PIECE)
    most = 3 * inside._PIECE - 1
    with pytest.raises(ValueError, match="has more than"):
        inside.read_inside(endless, "/f", most, 1)  # type: ignore[arg-type]
    assert endless.calls == 3


@pytest.mark.parametrize("answer", [None, ["a"], [("a", "b")], [("a", 1, 2)]])
def test_a_folder_is_not_believed(answer: object) -> None:
    with pytest.raises(GuestAborted, match="is no folder"):
        inside.list_inside(Liar(answer), "/", 1)  # type: ignore[arg-type]
