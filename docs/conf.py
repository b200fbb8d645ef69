"""Sphinx configuration."""

import ast
import inspect
import sys
from pathlib import Path

import hyperlight
from hyperlight import __version__, guest

# Public things say that they are of the package itself. Their sources, where
# autodoc finds what is said of each field, are the modules that define them.
for _public in (hyperlight, guest):
    for _name in _public.__all__:
        getattr(_public, _name)  # imports the module that defines it
        for _module in list(sys.modules.values()):
            if (
                _module.__name__.startswith("hyperlight.")
                and _module.__name__ != "hyperlight.guest"
                and _name in vars(_module).get("__all__", ())
                and hasattr(_thing := getattr(_public, _name), "__module__")
            ):
                _thing.__module__ = _module.__name__

project = "hyperlight"
author = "the hyperlight authors"
copyright = "the hyperlight authors"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "_extra"]
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_extra_path = ["_extra"]  # the report of a real run
html_theme = "furo"
html_title = "hyperlight"

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
# The README is a page on its own as well as the top of the index.
suppress_warnings = ["myst.xref_missing", "misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "inherited-members": True}
nitpicky = True
# There is no inventory of Python's own documentation here.
nitpick_ignore_regex = [("py:.*", r"(?!hyperlight\b).*")]

# Members that C implements have their types in a file of their own.
_STUB = ast.parse((Path(hyperlight.__file__).parent / "_core.pyi").read_text())
_TYPED = {
    f"{class_.name}.{member.name}": member
    for class_ in _STUB.body
    if isinstance(class_, ast.ClassDef)
    for member in class_.body
    if isinstance(member, ast.FunctionDef)
}


def _stub_of(thing: object, name: str) -> ast.FunctionDef | None:
    owner = getattr(thing, "__objclass__", None)
    full = getattr(thing, "__qualname__", f"{owner and owner.__name__}.{name}")
    return _TYPED.get(full.replace("Owner.", "Core."))


def _add_signature(app, what, name, thing, options, signature, returns):
    stub = _stub_of(thing, name.rpartition(".")[2])
    if what != "method" or stub is None or signature is None:
        return None
    del stub.args.args[:1]  # self
    given = ast.unparse(stub.args)
    stub.args.args.insert(0, ast.arg("self"))
    return f"({given})", stub.returns and ast.unparse(stub.returns)


def _add_type(app, what, name, thing, options, lines):
    stub = _stub_of(thing, name.rpartition(".")[2])
    if inspect.isgetsetdescriptor(thing) and stub and stub.returns:
        lines += ["", f":type: {ast.unparse(stub.returns)}"]


def setup(app):
    app.connect("autodoc-process-signature", _add_signature)
    app.connect("autodoc-process-docstring", _add_type)
