"""``python -m hyperlight`` and the ``hyperlight`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say how to get what it needs."""
    try:
        from hyperlight.cli import cli
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(
            f"hyperlight: the command line needs {error.name}: "
            f"pip install 'pyhyperlight[cli]'"
        )
    cli()


if __name__ == "__main__":
    main()
