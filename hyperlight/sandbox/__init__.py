"""Sandboxes: untrusted guests in micro-VMs, called from Python and put back.

From below: ``config`` and ``layout`` (what a guest gets), ``functions`` (what
both sides can call), ``log`` and ``faults`` (what is said of it), ``drivers``,
``calls`` (what a guest asks for), ``batch`` (many calls at once), ``machine``
(a guest in its machine), ``holder`` (who has one), and ``sandbox`` (the
lifecycle).
"""

from hyperlight.sandbox.sandbox import Sandbox, UninitializedSandbox

__all__ = ["Sandbox", "UninitializedSandbox"]
