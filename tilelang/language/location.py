"""Where, inside the user's call, one argument stands.

An error inside `T.gemm(A_shared, B_shared, C_local)` knows the span of the whole call; this module
parses that stretch of source again, only when an error is raised, and finds the argument.
"""

from __future__ import annotations

import ast
import linecache

from tilelang.errors import Span, caller_span


def argument_span(argument: int | str, call: Span | None = None) -> Span | None:
    """Span of a positional (int) or keyword (str) argument of the user's call.

    Falls back to the call itself when the text cannot be taken apart.
    """
    call = call if call is not None else caller_span()
    if call is None or call.end_line is None or call.end_column is None:
        return call
    lines = [linecache.getline(call.file, n) for n in range(call.line, call.end_line + 1)]
    if not lines or not lines[0]:
        return call
    lines[-1] = lines[-1][: call.end_column - 1]
    text = "(" + lines[0][call.column - 1 :] + "".join(lines[1:]) + "\n)"
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        return call
    node = _argument(tree, argument)
    return call if node is None else _shift(node, call)


def _argument(tree: ast.expr, argument: int | str) -> ast.expr | None:
    if not isinstance(tree, ast.Call):
        return None
    if isinstance(argument, int):
        return tree.args[argument] if argument < len(tree.args) else None
    return next((k.value for k in tree.keywords if k.arg == argument), None)


def _shift(node: ast.expr, call: Span) -> Span:
    def column(line: int, offset: int) -> int:
        return offset + (call.column - 1 if line == 1 else 1)  # the text starts with one "("

    end_line = node.end_lineno or node.lineno
    return Span(
        call.file,
        call.line + node.lineno - 1,
        column(node.lineno, node.col_offset),
        call.line + end_line - 1,
        column(end_line, node.end_col_offset or node.col_offset + 1),
    )
