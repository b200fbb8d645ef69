"""``python -m hyperlight`` and the ``hyperlight`` command."""

from __future__ import annotations

import sys

_EXTRAS = {
    "click": "cli",
    "rich": "cli",
    "jinja2": "bench",
    "matplotlib": "bench",
    "mcp": "mcp",
    "numpy": "bench",
    "pyperf": "bench",
}


def main() -> None:
    """Run the command line, or say how to get what it needs."""
    try:
        from hyperlight import cli

        cli.main()
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(str(error.name).partition(".")[0])
        if extra is None:
            raise
        sys.exit(
            f"hyperlight: this needs {error.name}: "
            f"pip install 'pyhyperlight[{extra}]'"
        )


if __name__ == "__main__":
    main()
