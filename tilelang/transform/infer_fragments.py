"""Who holds which element: a fragment for every fragment buffer, a layout for shared buffers.

In: tile form after `expand_tile_ops`. Out: the same in which each `Allocate` of a fragment, and of
a shared buffer that is not row-major, has its `LAYOUT`, and with exchanges where one nest would
need two layouts of a buffer. Nothing is searched or proved, and the order is that of `_Infer`:
instructions and the user fix layouts (`_Fix`), `fragment_solver` finds the fragments that follow,
`fragment_exchange` sends through shared memory what has two, `shared_layouts` keeps shared buffers
free of bank conflicts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tilelang.errors import ResourceError
from tilelang.ir.annotation import LAYOUT, LAYOUTS
from tilelang.ir.buffer import FRAGMENT, Buffer
from tilelang.ir.expr import as_expr, const_value
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import Allocate, Attr, Launch, Stmt, seq
from tilelang.ir.tile import TileOp
from tilelang.ir.visitor import Mutator, substitute, used_buffers
from tilelang.layout.fragment import Fragment
from tilelang.layout.layout import Layout
from tilelang.tileop.context import BlockThreads, LowerContext
from tilelang.tileop.registry import operator_for
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext
from tilelang.transform.expand_tile_ops import copy_nest
from tilelang.transform.fragment_exchange import insert_exchanges
from tilelang.transform.fragment_solver import Solver
from tilelang.transform.shared_layouts import conflict_free_layouts
from tilelang.transform.user_layouts import check_buffer_layout, check_loop_layout


def infer_fragments(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Give every fragment buffer its fragment.

    Needs: tile form after `expand_tile_ops`. Leaves: tile form in which each nest can run where
    the elements of its fragments are.

    Raises:
        ResourceError: for a number of threads that is not a positive constant.
        LayoutError: for a user's layout that does not fit its buffer or the block.
    """
    return _Infer(ctx).mutate(func)


def block_threads(launch: Launch) -> BlockThreads:
    """The threads of one block of `launch`, counted with the x axis fastest.

    Raises:
        ResourceError: when their number is not a positive constant.
    """
    extents = [const_value(e) for e in launch.thread_extents]
    if any(not isinstance(e, int) or e < 1 for e in extents):
        shown = ", ".join(map(str, launch.thread_extents))
        raise ResourceError(
            f"Kernel: the number of threads of a block must be a positive constant, got ({shown})",
            launch.span,
            hint="give `threads` as an integer",
        )
    sizes = [int(e) for e in extents if e is not None]
    index = as_expr(0)
    for var, size in reversed(list(zip(launch.thread_vars, sizes))):
        index = index * size + (var if size > 1 else 0)
    return BlockThreads(math.prod(sizes), index)


class _Infer(Mutator):
    def __init__(self, ctx: PassContext) -> None:
        self.ctx = ctx
        self.launch = -1

    def mutate_Launch(self, node: Launch) -> Launch:
        self.launch += 1
        threads = block_threads(node)
        without = bool(self.ctx.option(PassConfigKey.TL_DISABLE_WGMMA))
        context = LowerContext(self.ctx.target, threads=threads, disables_wgmma=without)
        fixing = _Fix(context)
        body: Stmt = fixing.mutate(node.body)
        solver = Solver(body, threads.count, fixing.fragments)
        for nest in solver.nests:
            check_loop_layout(nest, threads.count)
        layouts: dict[Buffer, Any] = dict(solver.solve())
        body, notes = insert_exchanges(body, layouts, solver, self.launch)
        self.ctx.notes.extend(notes)
        alone = _unshared(body)
        shared = {b: form for b, form in fixing.shared.items() if b in alone}
        free = alone - fixing.shared.keys()
        shared.update(conflict_free_layouts(body, layouts, threads.count, free))
        body = _Annotate({**layouts, **shared}).mutate(body)
        return node if body is node.body else replace(node, body=body)


class _Annotate(Mutator):
    """Notes each buffer's layout where it is allocated."""

    def __init__(self, layouts: Mapping[Buffer, Any]) -> None:
        self.layouts = layouts

    def mutate_Allocate(self, node: Allocate) -> Stmt:
        layout = self.layouts.get(node.buffer)
        if layout is None:
            return node
        return replace(node, annotations=(*node.annotations, (LAYOUT, layout)))


def _unshared(body: Stmt) -> set[Buffer]:
    """Buffers whose storage no other buffer uses."""
    owners: dict[Any, set[Buffer]] = {}
    for buffer in used_buffers(body):
        owners.setdefault(buffer.data, set()).add(buffer)
    return {b for group in owners.values() if len(group) == 1 for b in group}


# -- what instructions and the user fix ------------------------------------------------------------


class _Fix(Mutator):
    """Collects fixed layouts; an operation that needs another one works on a copy of its operand.

    gemm(P, V, O), where P is fixed as the accumulator of another product
    --> P_operand = P (a nest);  gemm(P_operand, V, O)
    """

    def __init__(self, context: LowerContext) -> None:
        self.context = context
        self.fragments: dict[Buffer, Fragment] = {}
        self.shared: dict[Buffer, Layout] = {}

    def mutate_Attr(self, node: Attr) -> Any:
        if node.key != LAYOUTS:
            return self.mutate_children(node)
        assert isinstance(node.value, tuple), "pairs of a buffer and its layout"
        for buffer, layout in node.value:
            if buffer.scope() == FRAGMENT:
                self._fix_by_user(buffer, layout, node)
            elif buffer.is_shared:
                self.shared[buffer] = layout
        return self.mutate(node.body)

    def _fix_by_user(self, buffer: Buffer, layout: Any, node: Attr) -> None:
        assert isinstance(layout, Fragment), "annotate_layout takes nothing else for a fragment"
        assert self.context.threads is not None, "set by the launch"
        check_buffer_layout(buffer, layout, self.context.threads.count, node.span)
        self.fragments[buffer] = layout

    def mutate_TileOp(self, node: TileOp) -> Stmt:
        needs = operator_for(node).needs(self.context)
        for buffer, layout in needs.shared.items():
            self.shared.setdefault(buffer, layout)
        copies: dict[Buffer, Buffer] = {}
        for buffer, fragment in needs.fragments.items():
            held = self.fragments.setdefault(buffer, fragment)
            if not held.is_equal(fragment):
                name = f"{buffer.name}_operand"
                copies[buffer] = Buffer(name, buffer.shape, buffer.dtype, FRAGMENT)
                self.fragments[copies[buffer]] = fragment
        return _on_copies(node, copies) if copies else node


def _on_copies(node: TileOp, copies: Mapping[Buffer, Buffer]) -> Stmt:
    """`node` on other buffers, filled before and read back after it."""
    before: list[Stmt] = [Allocate(b, span=node.span) for b in copies.values()]
    after: list[Stmt] = []
    for operand in node.operands:
        copied = copies.get(operand.region.buffer)
        if copied is None:
            continue
        if operand.is_read:
            before.append(copy_nest(operand.region.buffer, copied, node))
        if operand.is_written:
            after.append(copy_nest(copied, operand.region.buffer, node))
    return seq([*before, substitute(node, buffers=copies), *after])
