"""Thread-local variables lie where the compiler's code looks for them."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable

import pytest

from hyperlight import Sandbox, SandboxConfig
from hyperlight import guest as guests

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.unsanitized,  # compilers are tested, and what guests do
]

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
def build(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], bytes]:
    """Each case once for both drivers."""
    if shutil.which("cc") is None:
        pytest.skip("no compiler to build a guest with")
    folder = tmp_path_factory.mktemp("guests")

    @functools.cache
    def build_one(name: str) -> bytes:
        program = folder / "guest.c"
        program.write_text(source(CASES.get(name, CASES["many"])))
        flags = ["-fpie", "-static-pie"] if name == "pie" else []
        path = guests.build(program, folder / "guest", flags=flags)
        return path.read_bytes()

    return build_one


@pytest.mark.parametrize("name", [*CASES, "pie"])
def test_thread_local_variables(
    build: Callable[[str], bytes], driver: str, name: str
) -> None:
    config = SandboxConfig(driver=driver)
    with Sandbox(build(name), config=config) as sandbox:
        assert sandbox.call("Check") == 0
        sandbox.call("Change")
        assert sandbox.call("Check") == 1
        sandbox.restore()
        assert sandbox.call("Check") == 0
