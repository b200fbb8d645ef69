"""The table of guest ABIs: each row runs guests, whichever it is."""

from __future__ import annotations

import pytest

from hyperlight import (
    Sandbox,
    SandboxConfig,
    UninitializedSandbox,
    doctor,
    registry,
)
from hyperlight.sandbox import machine as machines


@pytest.fixture(params=registry.ABIS)
def abi(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setattr(machines, "_ABI", request.param)
    return str(request.param)


def test_it_starts_calls_and_is_put_back(abi: str, driver: str) -> None:
    config = SandboxConfig(driver=driver)
    with UninitializedSandbox("simple", config=config) as waiting:
        waiting.register("HostAdd", lambda a, b: a + b)
        sandbox = waiting.evolve()
    with sandbox:
        assert sandbox._machine.core.abi == abi
        base = sandbox.snapshot()
        for text in ("", "text", "x" * 10_000):
            assert sandbox.call("Echo", text) == text
            assert sandbox.restore().tracker == sandbox.tracker
        sandbox.restore(base)
        assert not sandbox.changed(base, everything=True)


def test_nothing_of_a_call_is_left_in_its_buffers(
    abi: str, driver: str
) -> None:
    with Sandbox("simple", config=SandboxConfig(driver=driver)) as sandbox:
        sandbox.call("Echo", "secret" * 1000)
        taken = sandbox.snapshot()
        assert b"secret" not in taken.read(0, taken.size)


def test_one_that_does_not_exist_is_refused(
    monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    monkeypatch.setattr(machines, "_ABI", "nobody's")
    with pytest.raises(ValueError, match="no guest ABI is called nobody's"):
        Sandbox("simple", config=SandboxConfig(driver=driver))


def test_the_file_chooses_without_a_name(driver: str) -> None:
    with Sandbox("simple", config=SandboxConfig(driver=driver)) as sandbox:
        assert sandbox._machine.core.abi == registry.ABIS[0]


def test_doctor_lists_them() -> None:
    assert doctor.examine()["host"]["guest ABIs"] == ", ".join(registry.ABIS)
