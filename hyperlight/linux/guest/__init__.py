"""What runs inside a Python sandbox, in the guest's own interpreter.

Nothing but the standard library is at hand there, and the interpreter may be
any CPython from 3.10 on. The package is shown to the guest by another name
(see :mod:`hyperlight.linux.interpreter`), so its modules name each other
relatively and nothing else of hyperlight. The host uses two of them, too:
``values`` and ``packets``, which both sides must agree about.

From below::

    values packets | compiling | host | fresh | loading | packing
    device                    packets in and out
    running                   one run or call
    serving                   warm up, bake, loop
    shim                      start
"""
