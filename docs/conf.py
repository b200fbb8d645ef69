"""Sphinx configuration."""

import sys

import hyperlight
from hyperlight import __version__, guest

# Public things say that they are of the package itself. Their sources, where
# autodoc finds what is said of each field, are the modules that define them.
for _public in (hyperlight, guest):
    for _name in _public.__all__:
        for _module in list(sys.modules.values()):
            if (
                _module.__name__.startswith("hyperlight.")
                and _module.__name__ not in ("hyperlight.guest",)
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
