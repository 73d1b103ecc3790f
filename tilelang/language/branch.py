"""An `if` of a function that is traced: both sides, or the one that Python decides.

In: a condition, from the builder; the rewritten function then runs the sides between `then`,
`otherwise` and `end`. Out: an `If` among the statements of the builder's innermost block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tilelang.errors import ArgumentTypeError, caller_span
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Operand, as_condition, const_value
from tilelang.ir.stmt import If, Seq
from tilelang.language.scopes import Block, DeadName, Scope

if TYPE_CHECKING:
    from tilelang.language.builder import Builder


def is_symbolic(value: Any) -> bool:
    """Whether the truth of `value` is known only at run time."""
    if isinstance(value, DeadName):
        value.fail()
    if isinstance(value, Buffer) and not value.is_var:
        raise ArgumentTypeError(
            f"`{value.name}` is a buffer and cannot be a condition",
            hint=f"test an element: {value.name}[...] != 0",
        )
    return isinstance(value, Operand) and const_value(value) is None


class Branch:
    """An `if` statement while it is traced."""

    __slots__ = (
        "builder",
        "condition",
        "constant",
        "context",
        "else_scope",
        "scope",
        "span",
        "then_scope",
    )

    def __init__(self, builder: Builder, condition: Any) -> None:
        self.builder = builder
        self.span = caller_span()
        self.constant: bool | None = None
        self.context: Block | None = None
        self.then_scope: Scope | None = None
        self.else_scope: Scope | None = None
        if isinstance(condition, DeadName):
            condition.fail()
        if is_symbolic(condition):
            self.condition = as_condition(condition)
        else:
            number = const_value(condition)
            self.constant = bool(number if number is not None else condition)

    def then(self) -> bool:
        if self.constant is not None:
            return self.constant
        self.then_scope = self._open("if")
        return True

    def otherwise(self) -> bool:
        if self.constant is not None:
            return not self.constant
        self._close()
        self.else_scope = self._open("else")
        return True

    def end(self) -> None:
        if self.constant is not None:
            return
        self._close()
        assert self.then_scope is not None and self.else_scope is not None
        else_body = self.else_scope.body()
        has_else = not (isinstance(else_body, Seq) and not else_body.stmts)
        self.builder.emit(
            If(
                self.condition,
                self.then_scope.body(),
                else_body if has_else else None,
                span=self.span,
            )
        )

    def _open(self, kind: str) -> Scope:
        self.context = self.builder.block(kind)
        return self.context.__enter__()

    def _close(self) -> None:
        assert self.context is not None
        self.context.__exit__(None, None, None)
