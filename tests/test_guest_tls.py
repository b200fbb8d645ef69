"""Thread-local variables lie where the compiler's code looks for them."""

from __future__ import annotations

import shutil

import pytest

from hyperlight import Sandbox, SandboxConfig
from hyperlight import guest as guests

GUEST = """
#include <hyperlight.h>
#include <stdint.h>
#include <string.h>

{declarations}

/* 0, or the number of the first variable that is not what it was declared. */
HL_EXPORT(check, "Check() -> int32")
{{
    static const unsigned char bytes[] = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}};
    static const unsigned char zeroes[8200];
    (void)bytes;
    (void)zeroes;
{checks}
    hl_return_i32(0);
}}

HL_EXPORT(change, "Change() -> none")
{{
{changes}
}}
"""

# (alignment, size, initialized) of each variable.
CASES: dict[str, list[tuple[int, int, bool]]] = {
    "one byte": [(1, 1, True)],
    "three bytes": [(1, 3, True)],
    "an int and three bytes": [(4, 4, True), (1, 3, False)],
    "not initialized": [(1, 5, False)],
    "nothing to copy, aligned": [(64, 3, False)],
    "aligned to a cache line": [(64, 10, True), (1, 1, False)],
    "aligned to more than the block": [(256, 7, True), (1, 3, True)],
    "a page": [(4096, 10, True), (8, 9, False)],
    "large": [(16, 8193, False), (2, 6, True)],
    "many": [(1 << i % 7, 1 + i, i % 2 == 0) for i in range(9)],
}


def source(case: list[tuple[int, int, bool]]) -> str:
    declarations, checks, changes = [], [], []
    for i, (align, size, initialized) in enumerate(case):
        values = ", ".join(str(k + 1) for k in range(min(size, 10)))
        value = f" = {{{values}}}" if initialized else ""
        declarations.append(
            f"_Thread_local _Alignas({align}) unsigned char "
            f"v{i}[{size}]{value};"
        )
        wanted = "bytes" if initialized else "zeroes"
        checks.append(
            f"    if ((uintptr_t)v{i} % {align} || "
            f"memcmp(v{i}, {wanted}, {size}))\n"
            f"        {{ hl_return_i32({i + 1}); return; }}"
        )
        changes.append(f"    memset(v{i}, 0xaa, {size});")
    return GUEST.format(
        declarations="\n".join(declarations),
        checks="\n".join(checks),
        changes="\n".join(changes),
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """All cases, built once for both drivers."""
    if shutil.which("cc") is None:
        pytest.skip("no compiler to build a guest with")
    folder, found = tmp_path_factory.mktemp("guests"), {}
    for name, case in CASES.items():
        program = folder / "guest.c"
        program.write_text(source(case))
        path = guests.build(program, folder / "guest", cc="cc")
        found[name] = path.read_bytes()
    flags = ["-fpie", "-static-pie"]
    found["pie"] = guests.build(
        program, folder / "guest", cc="cc", flags=flags
    ).read_bytes()
    return found


@pytest.mark.parametrize("name", [*CASES, "pie"])
def test_thread_local_variables(
    built: dict[str, bytes], driver: str, name: str
) -> None:
    config = SandboxConfig(driver=driver)
    with Sandbox(built[name], config=config) as sandbox:
        assert sandbox.call("Check") == 0
        sandbox.call("Change")
        assert sandbox.call("Check") == 1
        sandbox.restore()
        assert sandbox.call("Check") == 0
