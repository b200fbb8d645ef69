"""Every example in the documentation runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import click
import pytest
from programs import why_no_programs
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser

import hyperlight
from hyperlight import SandboxConfig, registry
from hyperlight.cli import cli
from hyperlight.sandbox import state
from hyperlight.units import format_size

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"]

pytestmark = [
    pytest.mark.skipif(
        not DOCS.exists(), reason="the documentation is not beside the tests"
    ),
    # fork.md forks; this process may have threads
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.unsanitized,  # no C that others do not run
]

sybil = Sybil(parsers=[PythonCodeBlockParser()], pattern="*.md")


def require_what_it_uses(text: str) -> None:
    """Skip with the reason where the programs of a page cannot be run."""
    examples = "".join(
        re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    )
    if "PythonSandbox(" in examples or "Program(" in examples:
        why = why_no_programs()
        if why is not None:
            pytest.skip(why)
    for program in re.findall(r'"(/usr/bin/[\w.]+|gcc)"', examples):
        if not shutil.which(program):
            pytest.skip(f"no {program}")


@pytest.mark.parametrize(
    "page", [p for p in PAGES if "_build" not in p.parts], ids=lambda p: p.stem
)
def test_examples(
    page: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)  # paths of other files are those of the sources
    text = page.read_text()
    require_what_it_uses(text)
    if "import numpy" in text:
        pytest.importorskip("numpy")
    if "Sandbox(" in text and not any(
        info.available for info in hyperlight.drivers()
    ):
        pytest.skip("no driver works here")
    if "guest.build(" in text and not shutil.which("cc"):
        pytest.skip("no C compiler")
    document = sybil.parse(page)
    for example in document.examples():
        example.evaluate()
    document.namespace.clear()


def test_the_sandbox_tutorial_runs_on_every_driver(
    driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "choose_driver", lambda wanted: driver)
    document = sybil.parse(DOCS / "tutorial/sandbox.md")
    for example in document.examples():
        example.evaluate()
    document.namespace.clear()


def test_every_limit_of_programs_has_a_row() -> None:
    """With its default, as the configuration has it."""
    text = (DOCS / "reference/programs.md").read_text()
    source = (ROOT / "hyperlight/sandbox/config.py").read_text()
    config = SandboxConfig()
    limits = re.findall(
        r"^    #: Of a program: (?:(?!^    \w).)*^    (\w+):",
        source,
        re.MULTILINE | re.DOTALL,
    )
    assert len(limits) >= 5
    for name in {*limits, "call_timeout", "start_timeout"} - {"frozen_time"}:
        row = re.search(rf"^\| `{name}` \| (.*?) \|", text, re.MULTILINE)
        assert row, name
        value = getattr(config, name)
        if value is None:
            assert row[1] == "none"
        elif name == "start_timeout":
            assert row[1] == f"{value:.0f} s"
        else:
            assert row[1] in (str(value), format_size(value))


def test_every_driver_has_a_row() -> None:
    text = (DOCS / "reference/drivers.md").read_text()
    drivers = [driver.name for driver in registry.DRIVERS]
    own = [t.name for t in registry.TRACKERS if t.driver]
    for name in (*drivers, *own):
        assert re.search(rf"^\| `{name}` \|", text, re.MULTILINE), name


def test_every_abi_has_a_row() -> None:
    text = (DOCS / "reference/guest-abi.md").read_text()
    for name in registry.ABIS:
        assert re.search(rf"^\| `{name}` \|", text, re.MULTILINE), name


def test_examples_are_found() -> None:
    """The parser sees them: no page of examples passes for being empty."""
    for page in PAGES:
        blocks = page.read_text().count("```python")
        assert len(list(sybil.parse(page).examples())) == blocks, page
    assert len(list(sybil.parse(DOCS / "tutorial/region.md").examples())) > 10


def test_every_tracker_has_a_row() -> None:
    """Those of other systems, too."""
    text = (DOCS / "reference/trackers.md").read_text()
    found = {
        name
        for path in (ROOT / "csrc/track").rglob("*.c")
        for name in re.findall(
            r'^    \.name = "(.*)",$', path.read_text(), re.MULTILINE
        )
    }
    assert found > {*registry.HOST_TRACKERS}
    for name in found:
        rows = re.findall(rf"^\| `{name}` \|", text, re.MULTILINE)
        assert len(rows) >= 2, name  # in both tables


def test_every_public_name_is_in_the_reference() -> None:
    text = "".join(page.read_text() for page in (DOCS / "reference").iterdir())
    for name in hyperlight.__all__:
        if not name.startswith("__"):
            assert f":: hyperlight.{name}" in text, name


def test_readme_has_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.index("hyperlight demo") < 1200
    assert text.index("pip install tox && tox") < 1200


def test_every_command_and_option_is_in_the_reference() -> None:
    text = (DOCS / "reference/cli.md").read_text()
    commands = dict(cli.commands)
    group = commands.pop("guest")
    assert isinstance(group, click.Group)
    commands |= {f"guest {name}": c for name, c in group.commands.items()}
    for name, command in commands.items():
        entry = re.search(
            rf"^`hyperlight {name}\b.*?(?=\n\n)",
            text,
            re.DOTALL | re.MULTILINE,
        )
        assert entry, name
        words = re.sub(r"\s+", " ", entry[0])
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert any(o in words for o in option.opts), (name, option)
