"""hyperlight exec: a program's output, files and end, and nothing more."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from commands import HERE, HYPERLIGHT, require_program, run, run_outside

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.unsanitized,  # programs of the host
]


@pytest.fixture(autouse=True)
def shell() -> str:
    """A shell that runs here: all else that these tests run is beside it."""
    return require_program("sh")


def test_output_is_passed_on_byte_for_byte() -> None:
    text = r"a\0\377\033[2J\n"
    result = run_outside("exec", "printf", text)
    assert result.returncode == 0
    assert result.stdout == b"a\0\xff\x1b[2J\n"
    assert result.stderr == b""
    result = run_outside("exec", "sh", "-c", "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")


def test_output_comes_as_it_is_written() -> None:
    script = "echo first; while :; do :; done"
    with subprocess.Popen(
        [*HYPERLIGHT, "exec", "--timeout", "6", "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=HERE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"first\n"
        came = time.monotonic()
        _, stderr = process.communicate(timeout=60)
        assert time.monotonic() - came > 1
    assert process.returncode == 124
    assert b"took longer than 6 s" in stderr


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill $$", 143)],
)
def test_status_is_the_programs(script: str, status: int) -> None:
    result = run("exec", "sh", "-c", script)
    assert result.exit_code == status
    assert result.stdout == ""


def test_refused_calls_are_named_if_it_fails() -> None:
    fork = "(exit 3)"
    failed = run("exec", "sh", "-c", fork)
    assert failed.exit_code != 0
    assert "system calls that were refused: " in failed.stderr
    told = run("exec", "-v", "echo", "x")
    assert told.exit_code == 0
    assert "refused" in told.stderr
    assert run("exec", "echo", "x").stderr == ""


def test_options_after_the_program_are_its_own() -> None:
    assert run("exec", "echo", "--json", "-v").output == "--json -v\n"
    assert run("exec", "--", "echo", "--", "-h").output == "-- -h\n"


def test_nothing_of_the_host_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    shown = run("exec", "--env", "A=b=c", "env").output.split()
    assert sorted(line.split("=")[0] for line in shown) == [
        "A", "HOME", "LANG", "PATH",
    ]  # fmt: skip
    assert "A=b=c" in shown
    at = ("exec", "--tmp", "/a/b", "--cwd", "/a/b")
    assert run(*at, "pwd").output == "/a/b\n"
    assert run("exec", "pwd").output == "/\n"
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    for path in (secret, "/etc/passwd", "/proc/self/status"):
        result = run("exec", "cat", str(path))
        assert result.exit_code == 1
        assert result.stdout == ""


def test_standard_input_only_if_asked() -> None:
    data = bytes(range(256)) * 1000
    assert run("exec", "--stdin", "cat", data=data).stdout_bytes == data
    assert run("exec", "cat", data=b"secret").stdout_bytes == b""


def test_files_read_only(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "outside").write_text("outside")
    (folder / "file").write_text("inside\n")
    (folder / "link").symlink_to(tmp_path / "outside")
    given = ("exec", "--ro", f"{folder}:/data")
    assert run(*given, "cat", "/data/file").output == "inside\n"
    assert run(*given, "cat", "/data/link").exit_code == 1
    for script in ("echo x > /data/file", "echo x > /data/new"):
        assert run(*given, "sh", "-c", script).exit_code != 0
    assert sorted(os.listdir(folder)) == ["file", "link"]
    assert (folder / "file").read_text() == "inside\n"
    at_its_own_path = run("exec", "--ro", str(folder), "cat", f"{folder}/file")
    assert at_its_own_path.output == "inside\n"


def test_a_copy_can_be_changed_and_the_file_is_not(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one\n")
    script = 'echo two >> /f; while read x; do echo "[$x]"; done < /f'
    result = run("exec", "--add", f"{file}:/f", "sh", "-c", script)
    assert result.output == "[one]\n[two]\n"
    assert file.read_text() == "one\n"


def test_an_archive_and_a_temporary_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("packed\n")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "a", "in/a")
    at = f"{tmp_path / 'x.tar'}:/here"
    assert run("exec", "--archive", at, "cat", "/here/in/a").output == (
        "packed\n"
    )
    script = "echo kept > /t/x; read x < /t/x; echo $x"
    result = run("exec", "--tmp", "/t=1MiB", "sh", "-c", script)
    assert result.output == "kept\n"


def test_a_program_that_is_given_is_the_one_that_runs(tmp_path: Path) -> None:
    """Not the host's of the same path."""
    path = require_program("true")
    (tmp_path / "text").write_text("no program")
    result = run("exec", "--ro", f"{tmp_path / 'text'}:{path}", path)
    assert result.exit_code == 2
    assert "not an ELF file" in result.output


def test_json() -> None:
    script = r"printf 'a\377'; echo b >&2; exit 3"
    report = json.loads(
        run_outside("exec", "--json", "sh", "-c", script).stdout
    )
    assert report == {
        "exit_code": 3,
        "signal": None,
        "stdout": "a\\xff",
        "stderr": "b\n",
        "refused": report["refused"],
        "error": None,
    }
    result = run_outside(
        *("exec", "--json", "--timeout", "0.5"),
        *("sh", "-c", "echo a; while :; do :; done"),
    )
    assert result.returncode == 124
    report = json.loads(result.stdout)
    assert report["stdout"] == "a\n"
    assert "took longer than 0.5 s" in report["error"]


def test_limits() -> None:
    endless = "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"
    result = run("exec", "--output-limit", "4096", "sh", "-c", endless)
    assert result.exit_code == 1
    assert len(result.stdout) <= 4096
    assert "output_limit" in result.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["nonesuch-program"], "no program 'nonesuch-program' in PATH"),
        (["/nonesuch/program"], "/nonesuch/program"),
        (["/etc/passwd"], "not an ELF file"),
        (["--ro", "/nonesuch", "echo"], "'/nonesuch'"),
        (["--ro", ":/x", "echo"], "not of the form HOST:GUEST"),
        (["--add", "/etc/passwd", "echo"], "not of the form FILE:GUEST"),
        (["--archive", "/etc/passwd", "echo"], "neither a zip nor a tar"),
        (["--env", "A", "echo"], "not of the form NAME=VALUE"),
        (["--tmp", "x", "echo"], "not absolute"),
        (["--cwd", "/nonesuch", "echo"], "it has no folder '/nonesuch'"),
        (["--memory", "lots", "echo"], "'lots' is not a size"),
        (["--driver", "vmware", "echo"], "valid are 'auto'"),
        (["--nope", "echo"], "No such option"),
        ([], "Missing argument"),
    ],
)
def test_what_cannot_run_is_status_2(args: list[str], says: str) -> None:
    result = run("exec", *args)
    assert result.exit_code == 2
    assert says in result.output
    assert "Traceback" not in result.output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_one_line_and_status_2() -> None:
    with open("/dev/full", "w") as full:
        result = run_outside("exec", "echo", "x", stdout=full)
    assert result.returncode == 2
    assert result.stderr == (
        b"hyperlight: cannot write to standard output: "
        b"No space left on device\n"
    )


def test_a_reader_that_went_away_ends_it() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = run_outside(
            "exec", "sh", "-c", "while :; do echo x; done", stdout=writer
        )
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (141, b"")
