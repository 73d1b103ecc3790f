"""Blocks and names of a function while it is traced, for the builder.

A `Scope` collects the statements of one block, a `Block` is it while it is open; a `Binding` is
what a name stands for, and a `DeadName` what it is after its block. They know nothing of the
builder.
"""

from __future__ import annotations

from typing import Any, NoReturn

from tilelang.errors import LanguageError, Note, Span
from tilelang.ir.stmt import Attr, Stmt, seq


class Scope:
    """An open block of statements."""

    __slots__ = ("attributes", "closed", "is_unreachable", "kind", "span", "stmts")

    def __init__(self, kind: str, span: Span | None = None) -> None:
        self.kind = kind
        self.span = span
        self.stmts: list[Stmt] = []
        self.attributes: list[
            tuple[int, str, Any, Span | None]
        ] = []  # from that position to the end
        self.closed = False
        self.is_unreachable = False  # after break, continue

    def body(self) -> Stmt:
        """The statements, with attributes that cover the rest of the block wrapped around it."""
        stmts = self.stmts
        for position, key, value, span in reversed(self.attributes):
            stmts = [*stmts[:position], Attr(key, value, seq(stmts[position:]), span=span)]
        return seq(stmts)


class Binding:
    """What a name of the user's function stands for, and in which block it was given."""

    __slots__ = ("is_loop_variable", "scope", "span", "value")

    def __init__(self, value: Any, scope: Scope, span: Span | None) -> None:
        self.value = value
        self.scope = scope
        self.span = span
        self.is_loop_variable = False


class DeadName:
    """Takes the place of a name whose block has ended, so that a later use can be explained."""

    __slots__ = ("binding", "name")

    def __init__(self, name: str, binding: Binding | None) -> None:
        self.name = name
        self.binding = binding

    def fail(self) -> NoReturn:
        if self.binding is None:
            raise LanguageError(
                f"`{self.name}` has no value here: the branch that binds it was not taken"
            )
        kind = self.binding.scope.kind
        raise LanguageError(
            f"`{self.name}` is used outside the `{kind}` that bound it",
            notes=[Note(self.binding.span, "bound here")],
            hint=f"allocate it before the `{kind}`: {self.name} = T.alloc_var(dtype), "
            "then assign to it",
        )

    def __getattr__(self, attribute: str) -> Any:
        self.fail()

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.fail()

    def __bool__(self) -> bool:
        self.fail()


class Function:
    """One traced function or macro: its names and the scope in which its body started."""

    __slots__ = ("base_depth", "name", "names")

    def __init__(self, name: str, base_depth: int) -> None:
        self.name = name
        self.base_depth = base_depth
        self.names: dict[str, Binding] = {}


class Block:
    """A nested block while it is open: the last of `scopes`."""

    __slots__ = ("scope", "scopes")

    def __init__(self, scopes: list[Scope], scope: Scope) -> None:
        self.scopes = scopes
        self.scope = scope

    def __enter__(self) -> Scope:
        self.scopes.append(self.scope)
        return self.scope

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        scopes = self.scopes
        self.scope.closed = True
        if kind is None:
            assert scopes[-1] is self.scope, "blocks close in the order they opened"
            scopes.pop()
        elif (
            self.scope in scopes
        ):  # an error leaves through blocks whose owners may end later than we
            del scopes[scopes.index(self.scope) :]
