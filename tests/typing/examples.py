"""Write the documentation's examples to files that type checkers can read.

One file a page, since the examples of a page go on from each other, and every
line where the page has it: an error in line 40 of ``docs_tutorial_region.py``
is an error in line 40 of ``docs/tutorial/region.md``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

_EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples_of(page: str) -> str:
    """The page with nothing but its examples, in the same lines."""
    shown: list[str] = []
    for example in _EXAMPLE.finditer(page):
        before = page.count("\n", 0, example.start(1))
        shown += [""] * (before - len(shown))
        shown += example[1].splitlines()
    return "\n".join(shown) + "\n"


def main(folder: Path) -> None:
    """Write the examples of README.md and of every page of docs/."""
    folder.mkdir(exist_ok=True)
    # Without an "exclude" pyright leaves out what lies below .tox, silently.
    (folder / "pyrightconfig.json").write_text(
        '{"typeCheckingMode": "strict", "exclude": []}'
    )
    for old in folder.glob("*.py"):
        old.unlink()
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if "_build" in page.parts or "```python" not in text:
            continue
        path = page.relative_to(ROOT).with_suffix("")
        name = re.sub(r"\W", "_", str(path)) + ".py"
        (folder / name).write_text(examples_of(text), encoding="utf-8")


main(Path(sys.argv[1]))
