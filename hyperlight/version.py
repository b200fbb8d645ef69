"""The version, apart so that a build can read it without the C core."""

__version__ = "0.1.0"
