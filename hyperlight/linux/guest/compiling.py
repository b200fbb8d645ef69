"""From the text of a script to its effects and the value of its last line.

As in a notebook, the value of a script is that of its last statement if this
is an expression, and ``await`` is allowed at its top level.

To compile a syntax tree takes twice as long as to compile text. So a script
is cut before its last line that is not indented, and both parts are compiled
as they are. That both compile means that the cut is between two statements: an
open bracket, string, block or continued line does not compile. Whatever is
not that simple goes by its syntax tree.
"""

from __future__ import annotations

import ast
from keyword import kwlist
from types import CodeType
from typing import Any

__all__ = ["execute"]

_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_COROUTINE = 0x80  # inspect.CO_COROUTINE
#: Words that begin statements, and no expression.
_STATEMENTS = {
    *kwlist,
    "@",
} - {"None", "True", "False", "not", "lambda", "await", "yield"}
#: Where a script's value is for a moment, if its tree was compiled.
_VALUE = "<value>"

Namespace = dict[str, Any]


def execute(
    code: str, filename: str, namespace: Namespace
) -> tuple[bool, object]:
    """Run a script; whether it has a value, and the value."""
    parts = _in_parts(code, filename)
    if parts is not None:
        body, last, has_value = parts
        if body is not None:
            exec(body, namespace)  # noqa: S102
        return has_value, eval(last, namespace)  # noqa: S307
    whole, has_value = _by_tree(code, filename)
    result = eval(whole, namespace)  # noqa: S307
    if whole.co_flags & _COROUTINE:
        import asyncio

        asyncio.run(result)
    return has_value, namespace.pop(_VALUE) if has_value else None


def _in_parts(
    code: str, filename: str
) -> tuple[CodeType | None, CodeType, bool] | None:
    """All but the last statement, the last, and whether that has a value.

    None if that needs a closer look.
    """
    cut = _last_line(code)
    tail = code[cut:]
    # A semicolon may hide a last statement, and what is imported from
    # __future__ is for all of the script.
    if ";" in tail or "__future__" in code:
        return None
    body = None
    try:
        if cut:
            body = compile(code[:cut], filename, "exec", _AWAIT, True)
            tail = "\n" * code.count("\n", 0, cut) + tail
        last, has_value = _statement(tail, filename)
    except SyntaxError:
        return None
    if last.co_flags & _COROUTINE or (body and body.co_flags & _COROUTINE):
        return None
    return body, last, has_value


def _last_line(code: str) -> int:
    """Where the last line begins that is not empty, a comment or indented."""
    end = len(code)
    while end > 0:
        start = code.rfind("\n", 0, end) + 1
        if start < len(code) and code[start] not in " \t\f\r\n#)]}":
            return start
        end = start - 1
    return 0


def _statement(text: str, filename: str) -> tuple[CodeType, bool]:
    first = text.split(None, 1)[:1]
    word = first[0].rstrip(":") if first else "pass"
    if word not in _STATEMENTS and word[0] != "@":
        try:
            return compile(text, filename, "eval", _AWAIT, True), True
        except SyntaxError:
            pass
    return compile(text, filename, "exec", _AWAIT, True), False


def _by_tree(code: str, filename: str) -> tuple[CodeType, bool]:
    """The script as one piece, which leaves its value in the namespace."""
    flags = _AWAIT | ast.PyCF_ONLY_AST
    tree = compile(code, filename, "exec", flags, True)
    last = tree.body[-1] if tree.body else None
    has_value = isinstance(last, ast.Expr)
    if isinstance(last, ast.Expr):
        name = ast.copy_location(ast.Name(_VALUE, ast.Store()), last)
        assign = ast.Assign([name], last.value)
        tree.body[-1] = ast.copy_location(assign, last)
    return compile(tree, filename, "exec", _AWAIT, True), has_value
