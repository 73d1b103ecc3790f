"""Where, inside the user's call, one argument stands.

An error inside `T.gemm(A_shared, B_shared, C_local)` knows the span of the whole call; this module
parses that stretch of source again, only when an error is raised, and finds the argument.
"""

from __future__ import annotations

import ast
import inspect
import linecache

from tilelang.errors import Span, caller_span


def argument_span(argument: int | str, call: Span | None = None) -> Span | None:
    """Span of a positional (int) or keyword (str) argument of the user's call.

    The user may have passed it either way. Falls back to the call itself when the text cannot be
    taken apart.
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
    position, keyword = _both_ways(tree.func, argument)
    before = tree.args[: 0 if position is None else position + 1]
    if position is not None and position < len(tree.args):
        return None if any(isinstance(a, ast.Starred) for a in before) else tree.args[position]
    return next((k.value for k in tree.keywords if k.arg is not None and k.arg == keyword), None)


def _both_ways(function: ast.expr, argument: int | str) -> tuple[int | None, str | None]:
    """Position and keyword of an argument, as far as the signature of a `T.` function tells."""
    import tilelang.language as language  # this module is a part of it

    name = getattr(function, "attr", getattr(function, "id", ""))
    try:
        parameters = inspect.signature(getattr(language, name)).parameters.values()
    except (AttributeError, TypeError, ValueError):  # not one of ours, or without a signature
        parameters = ()
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    if isinstance(argument, int):
        return argument, names[argument] if argument < len(names) else None
    return names.index(argument) if argument in names else None, argument


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
