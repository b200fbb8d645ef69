"""What it costs, beside what it replaces.

Installed as :mod:`hyperlight.bench`, with the extra ``bench``. README.md says
what is measured and how.
"""
