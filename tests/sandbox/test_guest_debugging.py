"""What the page on debugging guests says, done with a real one."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import HERE, require_driver
from test_debuggers import gdb, run

from hyperlight import GuestAborted, Sandbox, SandboxConfig, guest

PAGE = HERE.parent / "docs/howto/debug-guest.md"

pytestmark = [
    pytest.mark.skipif(
        not PAGE.exists(), reason="the documentation is not beside the tests"
    ),
    pytest.mark.unsanitized,
    pytest.mark.any_python,
]

SOURCE = """
#include <hyperlight.h>

HL_EXPORT(crash, "Crash() -> none")
{
    *(volatile int *)64 = 1; /* line 6 */
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once for all drivers and tools."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    source = tmp_path_factory.mktemp("crashing") / "hello.c"
    source.write_text(SOURCE)
    return guest.build(source, source.with_suffix(""))


@pytest.fixture
def crashed(program: Path, driver: str) -> tuple[Path, int]:
    """A guest's program, and where it faulted."""
    with Sandbox(program, config=SandboxConfig(driver=driver)) as sandbox:
        with pytest.raises(GuestAborted) as caught:
            sandbox.call("Crash")
    assert caught.value.rip is not None
    return program, caught.value.rip


def documented(program: str, rip: int) -> list[str]:
    """The page's command that begins with this word, for that address."""
    line = re.search(rf"^{program} .*$", PAGE.read_text(), re.MULTILINE)
    assert line
    return re.sub(r"0x400abc", f"{rip:#x}", line[0]).split(" ")


@pytest.mark.parametrize("tool", ["addr2line", "gdb", "lldb"])
def test_the_line_is_found(crashed: tuple[Path, int], tool: str) -> None:
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    program, rip = crashed
    output = run(["sh", "-c", " ".join(documented(tool, rip))], program.parent)
    assert "hello.c" in output, output
    assert re.search(r"hello\.c:6|[Ll]ine 6", output), output


SPINS = """
from hyperlight import GuestTimeout, Sandbox, SandboxConfig
with Sandbox("simple", config=SandboxConfig(driver="kvm")) as sandbox:
    for _ in range(3):
        try:
            sandbox.call("Spin", timeout=0.05)
        except GuestTimeout:
            sandbox.restore()
print("ended", flush=True)
"""


def test_gdb_passes_timeouts_on(tmp_path: Path) -> None:
    require_driver("kvm")
    script = tmp_path / "spins.py"
    script.write_text(SPINS)
    output = gdb(["run"], tmp_path, str(script))
    assert "ended" in output, output
    assert "exited normally" in output


def test_lldb_passes_timeouts_on(tmp_path: Path) -> None:
    require_driver("kvm")
    if shutil.which("lldb") is None:
        pytest.skip("lldb is not installed")
    script = tmp_path / "spins.py"
    script.write_text(SPINS)
    lines = [
        "breakpoint set --name main",
        "run",
        "continue",
    ]
    output = run(
        [
            *("lldb", "--no-lldbinit", "--batch"),
            *("-o", "settings set target.disable-aslr false"),
            *[part for line in lines for part in ("-o", line)],
            *("--", sys.executable, str(script)),
        ],
        tmp_path,
    )
    if "unable to locate lldb-server" in output or "personality" in output:
        pytest.skip("lldb cannot start processes here")
    assert "ended" in output, output
    assert "exited with status = 0" in output
