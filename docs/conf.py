"""Sphinx configuration."""

from hyperlight import __version__

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
html_extra_path = ["_extra"]  # the report of a real run
html_theme = "furo"
html_title = "hyperlight"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# The README is a page on its own as well as the top of the index.
suppress_warnings = ["myst.xref_missing", "misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "inherited-members": True}
nitpicky = False
