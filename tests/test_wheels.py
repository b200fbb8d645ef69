"""What tools/wheels.py builds is what the page on installing promises."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "tools" / "wheels.py"
PAGE = ROOT / "docs" / "howto" / "install.md"

pytestmark = [
    pytest.mark.skipif(
        not SCRIPT.exists(), reason="the sources are not beside the tests"
    ),
    pytest.mark.unsanitized,  # no C runs
]


@pytest.fixture(scope="module")
def wheels() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheels", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["wheels"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_each_wheel_has_a_row(wheels: ModuleType) -> None:
    text = PAGE.read_text(encoding="utf-8")
    promised = set(re.findall(r"\| `(\w+linux_\w+)` \|", text))
    assert promised == {target.policy for target in wheels.TARGETS.values()}


def test_all_promised_versions_of_python_are_built(wheels: ModuleType) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    promised = re.findall(r"Python :: (3\.\d+)\"", project)
    assert list(wheels.PYTHONS) == promised


@pytest.mark.parametrize(
    ("wheel", "policy", "enough"),
    [
        ("p-1-cp311-cp311-manylinux_2_28_x86_64.whl", "x86_64", True),
        ("p-1-cp311-cp311-manylinux_2_26_x86_64.whl", "x86_64", True),
        (
            "p-1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            "x86_64",
            True,
        ),
        ("p-1-cp311-cp311-manylinux_2_29_x86_64.whl", "x86_64", False),
        ("p-1-cp311-cp311-manylinux_2_34_aarch64.whl", "aarch64", False),
        ("p-1-cp311-cp311-manylinux_2_17_x86_64.whl", "aarch64", False),
        ("p-1-cp311-cp311-musllinux_1_2_x86_64.whl", "x86_64", False),
        ("p-1-cp311-cp311-linux_x86_64.whl", "x86_64", False),
    ],
)
def test_a_wheel_that_needs_newer_systems_is_refused(
    wheels: ModuleType, wheel: str, policy: str, enough: bool
) -> None:
    assert wheels.is_old_enough(wheel, f"manylinux_2_28_{policy}") is enough


def test_compilers_and_folders_of_this_machine_are_left_out(
    wheels: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CC is for the wheel's system, and guests have their own."""
    monkeypatch.setenv("CC", "this-machine's")
    monkeypatch.delenv("HYPERLIGHT_GUEST_CC", raising=False)
    for target in wheels.TARGETS.values():
        environment = wheels.environment_of(target, "3.12")
        assert environment["CC"].endswith(f"-target {target.zig}")
        assert environment["LDSHARED"].startswith(environment["CC"])
        assert environment["HYPERLIGHT_GUEST_CC"] == "cc"
        assert environment["SETUPTOOLS_EXT_SUFFIX"] == (
            f".cpython-312-{target.suffix}.so"
        )
