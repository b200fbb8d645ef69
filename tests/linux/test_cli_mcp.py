"""hyperlight mcp: sessions, and what a client of the protocol sees."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import HERE, HYPERLIGHT, require_python, run_outside

from hyperlight import Files, GuestTimeout, PythonError, PythonSandbox
from hyperlight.cli.inside import (
    Sessions,
    list_inside,
    read_inside,
    write_inside,
)

pytestmark = pytest.mark.unsanitized  # no C that others do not run


@pytest.fixture
def sandbox() -> Iterator[PythonSandbox]:
    require_python()
    files = Files().temporary()
    with PythonSandbox(memory="64MiB", files=files) as made:
        yield made


def value_of(sessions: Sessions, name: str | None, code: str) -> Any:
    with sessions.turn(name) as sandbox:
        result = sandbox.run(code)
    assert result.error is None, result.error.traceback
    return result.value


def test_sessions_have_states_of_their_own(sandbox: PythonSandbox) -> None:
    sessions = Sessions(sandbox, 3)
    one, other = sessions.begin(), sessions.begin()
    assert sessions.names() == [one, other]
    for name in (one, other):
        value_of(
            sessions, name, f"x = {name!r}\nimport os\nos.mkdir('/tmp/d')"
        )
    for name in (one, other, one):
        assert value_of(sessions, name, "x, os.listdir('/tmp')") == (
            name, ["d"],
        )  # fmt: skip
    gone = "'x' in globals(), 'os' in globals()"
    assert value_of(sessions, None, gone) == (False, False)
    value_of(sessions, None, "x = 5")
    assert value_of(sessions, None, gone) == (False, False)
    assert sandbox.run(gone).value == (False, False)
    sessions.end(one)
    assert sessions.names() == [other]
    with pytest.raises(ValueError, match=f"no session '{one}'"):
        value_of(sessions, one, "1")
    with pytest.raises(ValueError, match="no session"):
        sessions.end(one)
    assert value_of(sessions, other, "x") == other


def test_sessions_are_limited(sandbox: PythonSandbox) -> None:
    sessions = Sessions(sandbox, 2)
    names = [sessions.begin(), sessions.begin()]
    with pytest.raises(ValueError, match="there are 2 sessions"):
        sessions.begin()
    sessions.end(names[0])
    assert sessions.begin() not in names  # a name is not used again


def test_what_fails_is_undone_alone(sandbox: PythonSandbox) -> None:
    sessions = Sessions(sandbox, 2)
    name = sessions.begin()
    value_of(sessions, name, "x = 1")
    with pytest.raises(GuestTimeout):
        with sessions.turn(name) as inside:
            inside.run("x = 2\nwhile True: pass", timeout=0.3)
    assert value_of(sessions, name, "x") == 1
    with sessions.turn(name) as inside:  # an exception is no such end
        assert inside.run("x = 3\n1 / 0").error is not None
    assert value_of(sessions, name, "x") == 3


def test_sessions_of_many_threads(sandbox: PythonSandbox) -> None:
    sessions = Sessions(sandbox, 4)
    names = [sessions.begin() for _ in range(4)]
    for name in names:
        value_of(sessions, name, "n = 0")

    def count(name: str) -> None:
        for _ in range(20):
            value_of(sessions, name, "n += 1")

    threads = [threading.Thread(target=count, args=(n,)) for n in names * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [value_of(sessions, name, "n") for name in names] == [40] * 4


def test_files_of_sessions(sandbox: PythonSandbox) -> None:
    sessions = Sessions(sandbox, 1)
    name = sessions.begin()
    data = bytes(range(256)) * 20_000
    with sessions.turn(name) as inside:
        write_inside(inside, "/new/folder/file", data, 9)
        assert inside.run("'__hyperlight__' in globals()").value is False
        inside.run("del __builtins__")
    with sessions.turn(name) as inside:
        assert read_inside(inside, "/new/folder/file", len(data), 9) == data
        with pytest.raises(ValueError, match="has more than"):
            read_inside(inside, "/new/folder/file", len(data) - 1, 9)
        assert list_inside(inside, "/new", 9) == [("folder/", 0)]
        assert list_inside(inside, "/new/folder", 9) == [("file", len(data))]
        with pytest.raises(PythonError, match="FileNotFoundError"):
            read_inside(inside, "/none", 1, 9)
        with pytest.raises(ValueError, match="not absolute"):
            write_inside(inside, "file", b"", 9)
    with sessions.turn(name, keep=False) as inside:
        inside.run(
            "import builtins\ndef spin(*_):\n    while True: pass\n"
            "builtins.open = spin"
        )
        with pytest.raises(GuestTimeout):
            read_inside(inside, "/new/folder/file", 9, 0.3)
    with sessions.turn(name) as inside:
        assert inside.run("open.__name__").value == "open"
    with sessions.turn(None) as inside, pytest.raises(PythonError):
        list_inside(inside, "/new", 9)


Call = Callable[..., Awaitable[Any]]


def serve(scenario: Callable[[Call], Awaitable[None]], *args: str) -> None:
    """Talk to a server by the official client."""
    require_python()
    mcp = pytest.importorskip("mcp", reason="no package mcp here")
    import anyio

    async def talk() -> None:
        server = mcp.StdioServerParameters(
            command=sys.executable,
            args=[*HYPERLIGHT[1:], "mcp", *args],
            cwd=HERE,
            env=dict(os.environ),
        )
        async with mcp.Client(mcp.stdio_client(server)) as client:

            async def call(tool: str, **arguments: Any) -> Any:
                result = await client.call_tool(tool, arguments)
                text = "".join(part.text for part in result.content)
                if result.is_error:
                    return f"error: {text}"
                return result.structured_content

            call.tools = await client.list_tools()  # type: ignore[attr-defined]
            await scenario(call)

    anyio.run(talk)


def test_a_client_runs_python() -> None:
    async def scenario(call: Call) -> None:
        tools = call.tools.tools  # type: ignore[attr-defined]
        assert [tool.name for tool in tools] == [
            "run_python", "new_session", "end_session", "list_sessions",
            "put_file", "get_file", "list_files",
        ]  # fmt: skip
        assert all(tool.description for tool in tools)
        assert await call("run_python", code="print('a')\n6 * 7") == {
            "value": "42", "stdout": "a\n", "stderr": "", "error": None,
        }  # fmt: skip
        failed = await call("run_python", code="1 / 0")
        assert failed["error"].endswith(
            "ZeroDivisionError: division by zero\n"
        )
        late = await call(
            "run_python", code="print('b')\nwhile True: pass", timeout=2
        )
        assert late["stdout"] == "b\n"
        assert late["error"] == "run took longer than 2 s (timeout)"
        # Not longer than the server allows.
        late = await call("run_python", code="while True: pass", timeout=99)
        assert late["error"] == "run took longer than 3 s (timeout)"
        long = await call("run_python", code="print('x' * 200_000)")
        assert long["stdout"].endswith("x\n... (100001 more characters)")
        odd = await call("run_python", code="print('\\udc80')\n'\\udc80'")
        assert odd["value"] == "'\\udc80'"
        assert "no session 'x'" in await call(
            "run_python", code="1", session="x"
        )

    serve(scenario, "--timeout", "3", "--memory", "64MiB")


def test_a_client_has_sessions_and_files(tmp_path: Path) -> None:
    (tmp_path / "given").write_text("given")

    async def scenario(call: Call) -> None:
        one = (await call("new_session"))["result"]
        other = (await call("new_session"))["result"]
        assert "there are 2 sessions" in await call("new_session")
        assert await call("list_sessions") == {"result": [one, other]}
        await call("run_python", code="x = 5", session=one)
        asks = {"code": "'x' in globals()"}
        assert (await call("run_python", session=one, **asks))[
            "value"
        ] == "True"
        for where in ({"session": other}, {}):
            found = await call("run_python", **where, **asks)
            assert found["value"] == "False"
        binary = base64.b64encode(b"\0\xff").decode()
        for path, content in (
            ("/tmp/t/a", {"text": "é", "base64": None}),
            ("/tmp/t/b", {"text": None, "base64": binary}),
        ):
            put = {"session": one, "path": path, **content}
            assert await call("put_file", **put) == {"result": None}
            got = await call("get_file", session=one, path=path)
            assert got == content
            missing = await call("get_file", session=other, path=path)
            assert "FileNotFoundError" in missing
        listed = await call("list_files", session=one, path="/tmp/t")
        assert listed["result"] == [
            {"name": "a", "size": 2}, {"name": "b", "size": 2},
        ]  # fmt: skip
        code = "open('/data/given').read()"
        assert (await call("run_python", code=code))["value"] == "'given'"
        for content in ({}, {"text": "a", "base64": "YQ=="}, {"base64": "!"}):
            put = {"session": one, "path": "/tmp/x", **content}
            assert (await call("put_file", **put)).startswith("error: ")
        assert await call("end_session", session=one) == {"result": None}
        assert await call("list_sessions") == {"result": [other]}
        assert "no session" in await call("end_session", session=one)

    ro = f"{tmp_path}:/data"
    serve(scenario, "--sessions", "2", "--ro", ro, "--memory", "64MiB")


def test_modules_are_preloaded() -> None:
    pytest.importorskip("numpy")

    async def scenario(call: Call) -> None:
        code = "import numpy\nint(numpy.arange(4).sum())"
        assert (await call("run_python", code=code))["value"] == "6"

    serve(scenario, "--preload", "numpy")


def test_what_is_wrong_is_said_before_it_serves() -> None:
    pytest.importorskip("mcp", reason="no package mcp here")
    for args, says in (
        (["--preload", "nonesuch"], "no module or distribution"),
        (["--driver", "vmware"], "valid are 'auto'"),
        (["--ro", "/nonesuch"], "No such file"),
        (["--sessions", "0"], "is not in the range"),
    ):
        result = run_outside("mcp", *args)
        assert result.returncode == 2
        assert result.stdout == b""
        assert says in result.stderr.decode()


def test_says_what_to_install() -> None:
    script = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "mcp":
            raise ModuleNotFoundError("no", name="mcp")
sys.meta_path.insert(0, Refuse())
from hyperlight.__main__ import main
main()
"""
    result, helped = (
        subprocess.run(
            [sys.executable, "-c", script, *args],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=HERE,
        )
        for args in (["mcp"], ["mcp", "--help"])
    )
    assert result.returncode == 1
    assert result.stderr == (
        "hyperlight: this needs mcp: pip install 'pyhyperlight[mcp]'\n"
    )
    assert helped.returncode == 0  # only that command needs it
