"""A mutator that knows, at each place, what holds there.

Passes that prove things about indices derive from it. It adds the ranges of loop and launch
variables, the values of names, the conditions of enclosing branches and `T.assume`, and forgets
them at the end of their scope. What speaks of memory counts only while nothing writes that memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tilelang.ir.expr import And, BufferLoad, Call, Expr, Let, Not, Or, Var, as_expr
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import Node
from tilelang.ir.ops import Effect, effect_of
from tilelang.ir.stmt import Bind, BufferStore, Evaluate, For, If, Launch, Seq, Stmt, seq
from tilelang.ir.tile import TileOp
from tilelang.ir.visitor import Mutator, walk
from tilelang.transform.facts import Facts


class ScopedMutator(Mutator):
    """`self.facts` holds what is known at the node being visited."""

    def __init__(self) -> None:
        self.facts = Facts()

    def mutate_PrimFunc(self, node: PrimFunc) -> PrimFunc:
        with self.facts.scope():
            self.add_parameters(node)
            return self.mutate_children(node)

    def add_parameters(self, node: PrimFunc) -> None:
        """Sizes of arguments are not negative."""
        symbols = {v: None for b in node.buffer_params for e in b.shape for v in _sizes(e)}
        for var in symbols:
            self.facts.add_condition(var >= 0, True)

    def mutate_Launch(self, node: Launch) -> Stmt:
        with self.facts.scope():
            self.add_launch(node)
            return self.mutate_children(node)

    def add_launch(self, node: Launch) -> None:
        """The ranges of a launch's variables."""
        pairs = [*zip(node.grid_vars, node.grid_extents)]
        pairs += zip(node.thread_vars, node.thread_extents)
        for var, extent in pairs:
            self.facts.add_range(var, as_expr(0), extent)

    def mutate_Seq(self, node: Seq) -> Any:
        out: list[Stmt] = []
        changed = False
        with self.facts.scope():
            for position, stmt in enumerate(node.stmts):
                new = self.mutate(stmt)
                changed |= new is not stmt
                if new is not None:
                    out.append(new)
                self.learn(stmt, node.stmts[position + 1 :])
        return seq(out) if changed else node

    def learn(self, stmt: Stmt, rest: Iterable[Stmt]) -> None:
        """What `stmt`, already visited, says of the statements after it."""
        if isinstance(stmt, Bind):
            if not any(isinstance(n, (BufferLoad, Call)) for n in walk(stmt.value)):
                self.facts.add_value(stmt.var, stmt.value)
        elif (
            isinstance(stmt, Evaluate)
            and isinstance(stmt.value, Call)
            and stmt.value.op == "assume"
        ):
            self.add_condition(stmt.value.args[0], True, rest)

    def mutate_For(self, node: For) -> Any:
        start, extent = self.mutate(node.start), self.mutate(node.extent)
        with self.facts.scope():
            self.facts.add_range(node.var, node.start, node.extent)
            body = self.mutate(node.body)
        return self.rebuilt(
            node, start=start, extent=extent, body=Seq(()) if body is None else body
        )

    def mutate_If(self, node: If) -> Any:
        condition = self.mutate(node.condition)
        with self.holding(node.condition, True, [node.then_body]):
            then_body = self.mutate(node.then_body)
        else_body = node.else_body
        if else_body is not None:
            with self.holding(node.condition, False, [else_body]):
                else_body = self.mutate(else_body)
        then_body = Seq(()) if then_body is None else then_body
        return self.rebuilt(node, condition=condition, then_body=then_body, else_body=else_body)

    def mutate_Call(self, node: Call) -> Expr:
        return self.mutate_choice(node) if node.op == "if_then_else" else self.mutate_children(node)

    def mutate_choice(self, node: Call) -> Expr:
        """`if_then_else`: each side is evaluated only where the condition says so."""
        condition = self.mutate(node.args[0])
        sides: list[Expr] = []
        for side, holds in zip(node.args[1:], (True, False)):
            with self.holding(node.args[0], holds, ()):
                sides.append(self.mutate(side))
        args = (condition, *sides)
        return (
            node if all(a is b for a, b in zip(args, node.args)) else self.rebuilt(node, args=args)
        )

    def mutate_Let(self, node: Let) -> Expr:
        value = self.mutate(node.value)
        with self.facts.scope():
            self.learn(Bind(node.var, node.value), ())
            body = self.mutate(node.body)
        return self.rebuilt(node, value=value, body=body)

    def rebuilt(self, node: Any, **fields: Any) -> Any:
        """`node` with `fields`; the same object when none of them is new."""
        from tilelang.ir.expr import rebuild
        from tilelang.ir.node import replace

        changes = {k: v for k, v in fields.items() if v is not getattr(node, k)}
        if not changes:
            return node
        return rebuild(node, changes) if isinstance(node, Expr) else replace(node, **changes)

    @contextmanager
    def holding(self, condition: Expr, holds: bool, where: Iterable[Stmt]) -> Iterator[None]:
        """`condition` is true (or false) while the statements `where` run."""
        with self.facts.scope():
            self.add_condition(condition, holds, where)
            yield

    def add_condition(self, condition: Expr, holds: bool, where: Iterable[Stmt]) -> None:
        """Add the parts of `condition` that stay true until the end of `where`."""
        places = list(where)
        for part in conjuncts(condition, holds):
            value = part.a if isinstance(part, Not) else part
            if is_stable(value, places):
                self.facts.add_condition(value, not isinstance(part, Not))


def _sizes(extent: int | Expr) -> list[Var]:
    """The variable that is an extent by itself."""
    return [extent] if isinstance(extent, Var) else []


def conjuncts(condition: Expr, holds: bool = True) -> list[Expr]:
    """Conditions that all hold exactly when `condition` is `holds`; a negated one is a `Not`."""
    if isinstance(condition, Not):
        return conjuncts(condition.a, not holds)
    if isinstance(condition, Call) and condition.op == "likely":
        return conjuncts(condition.args[0], holds)
    if isinstance(condition, And if holds else Or):
        return [*conjuncts(condition.a, holds), *conjuncts(condition.b, holds)]
    return [condition if holds else Not(condition)]


def is_stable(value: Expr, where: Iterable[Stmt]) -> bool:
    """Whether `value` stays the same while the statements `where` run."""
    loads: set[Var] = set()
    for node in walk(value):
        if isinstance(node, BufferLoad):
            loads.add(node.buffer.data)
        elif isinstance(node, Call) and effect_of(node.op) is not Effect.PURE:
            return False
    return not loads or not any(loads & written_storage(stmt) for stmt in where)


def written_storage(node: Node) -> set[Var]:
    """Pointers of storage that `node` may write: by stores, by operations, through addresses."""
    found: set[Var] = set()
    for item in walk(node):
        if isinstance(item, BufferStore):
            found.add(item.buffer.data)
        elif isinstance(item, TileOp):
            found.update(region.buffer.data for region in item.writes)
        elif isinstance(item, Call) and (
            effect_of(item.op) is Effect.WRITE or item.op in ("address_of", "access_ptr")
        ):
            found.update(n.buffer.data for n in walk(item) if isinstance(n, BufferLoad))
    return found
