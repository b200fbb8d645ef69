"""Modules by the names that they had before they moved into packages.

``import hyperlight.config`` gives ``hyperlight.sandbox.config``, the module
itself and not a copy of it. Nothing in the package uses these names.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as typing's, which takes long to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader, MetaPathFinder
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

    class _Base(MetaPathFinder, Loader):
        pass

else:  # importlib.abc takes longer to import than the rest of the package
    _Base = object

__all__ = ["MOVED", "find_moved"]

#: New names by old ones, both below ``hyperlight``.
MOVED = {
    "_cc": "guest.cc",
    "config": "sandbox.config",
    "demo": "cli.ledger",
    "drivers": "sandbox.drivers",
    "faults": "sandbox.faults",
    "guestlog": "sandbox.log",
    "hostfuncs": "sandbox.functions",
    "layout": "sandbox.layout",
    "machine": "sandbox.machine",
    "run": "cli.values",
    "terminal": "cli.terminal",
}


class _Finder(_Base):
    """Asked after all others, so it never stands in front of a file."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """A spec for an old name, or None."""
        package, _, name = fullname.rpartition(".")
        if package != "hyperlight" or name not in MOVED:
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module by its new name."""
        name = spec.name.rpartition(".")[2]
        new = f"hyperlight.{MOVED[name]}"
        __import__(new)
        module = sys.modules[new]
        # The import system is about to write its own into the module.
        spec.loader_state = module.__spec__
        return module

    def get_code(self, fullname: str) -> CodeType | None:
        """For ``python -m`` with an old name."""
        from importlib.util import find_spec

        name = f"hyperlight.{MOVED[fullname.rpartition('.')[2]]}"
        spec = find_spec(name)
        get_code = getattr(spec and spec.loader, "get_code", None)
        return get_code(name) if get_code else None

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it has run. Its own spec is put back."""
        spec = module.__spec__
        if spec is not None and spec.loader is self:
            module.__spec__ = spec.loader_state


def find_moved() -> None:
    """Have the old names found, from now on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
