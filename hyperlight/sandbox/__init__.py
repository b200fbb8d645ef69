"""Sandboxes: untrusted guests in micro-VMs, called from Python and put back.

From below: ``config`` and ``layout`` (what a guest gets), ``functions`` (what
both sides can call), ``log`` and ``faults`` (what is said of it), ``drivers``,
``calls`` (what a guest asks for), ``batch`` (many calls at once), ``machine``
(a guest in its machine), ``holder`` (who has one), and ``sandbox`` (the
lifecycle).
"""

import sys as _sys

from hyperlight._late import Package as _Package

TYPE_CHECKING = False  # at run time, see hyperlight._late
if TYPE_CHECKING:
    from hyperlight.sandbox.sandbox import Sandbox, UninitializedSandbox

__all__ = ["Sandbox", "UninitializedSandbox"]

_sys.modules[__name__].__class__ = _Package
del TYPE_CHECKING
