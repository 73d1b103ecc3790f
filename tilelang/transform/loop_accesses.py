"""What the iterations of a loop touch, and whether two loops meet only in iterations of one number.

In: a `For` of the thread form on a CPU, where one thread runs a block. Out: `Touched`, or `None`
for a loop that does more than load, compute and store. `fuse_loops` asks; nothing is changed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from tilelang.ir.annotation import LAYOUT, REDUCTION
from tilelang.ir.buffer import GLOBAL, Buffer
from tilelang.ir.equality import structural_equal
from tilelang.ir.expr import (
    Add,
    BufferLoad,
    Call,
    Cast,
    Div,
    Expr,
    FloatImm,
    Let,
    Select,
    Sub,
    Var,
    const_value,
)
from tilelang.ir.func import RESTRICT_DROPPED, PrimFunc
from tilelang.ir.node import Node
from tilelang.ir.ops import Effect, effect_of
from tilelang.ir.stmt import (
    Allocate,
    Bind,
    BufferStore,
    Evaluate,
    For,
    If,
    Seq,
    annotation,
)
from tilelang.ir.visitor import used_vars, walk
from tilelang.transform.affine import Affine, affine
from tilelang.transform.plan_memory import STACK_BUFFER_BYTES

LARGEST_BODY = 48  # accesses; the tests are quadratic, and a larger body gains nothing
_STREAM = "tl_stream_store"  # (to, from, bytes): touches nothing else
_NO_PRODUCT = (BufferLoad, FloatImm, Add, Sub, Div, Cast)
_PLAIN = (Seq, For, If, Bind, Allocate, BufferStore, Evaluate)
_Bounds = tuple[int, int]  # first and last value


@dataclass(slots=True)
class Access:
    """A load or store."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    stores: bool
    is_product: bool = False  # stores what may end in a multiplication
    is_summand: bool = False  # is loaded for an addition, other than to the scalar of a reduction
    _forms: tuple[Affine | None, ...] | None = None

    @property
    def forms(self) -> tuple[Affine | None, ...]:
        """The indices as sums of variables."""
        if self._forms is None:
            scalar = (i if i.dtype.lanes == 1 else None for i in self.indices)
            self._forms = tuple(None if i is None else affine(i) for i in scalar)
        return self._forms


@dataclass(slots=True)
class Touched:
    """The accesses of all iterations, by storage; `inner`: what variables of the body range over
    (`None`: unknown)."""

    by_storage: dict[Var, list[Access]] = field(default_factory=dict)
    inner: dict[Var, _Bounds | None] = field(default_factory=dict)
    own: set[Var] = field(default_factory=set)  # allocated in the body
    count: int = 0
    reduced: set[Var] = field(default_factory=set)  # scalars of reductions
    summands: set[int] = field(default_factory=set)  # ids of operands of additions

    @property
    def names(self) -> set[Var]:
        """What the body defines."""
        return {*self.own, *self.inner}

    def add_run(self, first: BufferLoad, count: int, stores: bool) -> None:
        """`count` neighbours along the last axis."""
        lane = Var("lane", first.indices[-1].dtype)
        self.inner[lane] = (0, count - 1)
        self.add(Access(first.buffer, (*first.indices[:-1], first.indices[-1] + lane), stores))

    def add(self, access: Access) -> None:
        if access.buffer.data not in self.own:
            self.by_storage.setdefault(access.buffer.data, []).append(access)
            self.count += 1


class Storages:
    """Which buffers are the same memory, and in which an index says the place."""

    def __init__(self, func: PrimFunc) -> None:
        dropped = frozenset(func.attribute(RESTRICT_DROPPED, ()))
        self.params = {b.data: b for b in func.buffer_params if b.data.name not in dropped}
        self.allocated: dict[Var, Allocate] = {
            n.buffer.data: n for n in walk(func.body) if isinstance(n, Allocate)
        }
        loaded = (n.buffer.data for n in walk(func.body) if isinstance(n, BufferLoad))
        self.loads = Counter(loaded)

    def is_plain(self, buffer: Buffer) -> bool:
        """Whether other indices are other places."""
        made = self.allocated.get(buffer.data)
        if made is not None and annotation(made.annotations, LAYOUT) is not None:
            return False
        return buffer.declared_strides is None and self.is_known(buffer.data)

    def is_small(self, data: Var) -> bool:
        """Whether the memory may become variables of the C function."""
        made = self.allocated.get(data)
        size = None if made is None else const_value(made.buffer.num_elements)
        return made is not None and (
            size is None or size * made.buffer.dtype.itemsize <= STACK_BUFFER_BYTES
        )

    def is_known(self, data: Var) -> bool:
        """Whether it is clear which other names the memory has."""
        return data in self.params or data in self.allocated

    def may_be_one(self, a: Buffer, b: Buffer) -> bool:
        """Whether two buffers may share memory. Two parameters of one type and shape may: a caller
        who computes in place passes one tensor for both."""
        if a.data is b.data:
            return True
        if a.scope() != GLOBAL or b.scope() != GLOBAL:
            return False
        if not self.is_known(a.data) or not self.is_known(b.data):
            return True
        params = self.params.get(a.data), self.params.get(b.data)
        return params[0] is not None and params[1] is not None and _is_alike(params[0], params[1])

    def is_one_space(self, a: Buffer, b: Buffer) -> bool:
        """Whether equal indices are equal places, if the buffers share memory at all."""
        if a is b:
            return True
        return a.data is not b.data and {a, b} <= set(self.params.values())


def _is_alike(a: Buffer, b: Buffer) -> bool:
    extents = zip(a.shape, b.shape)
    same = all(x == y if isinstance(x, int) or isinstance(y, int) else structural_equal(x, y)
               for x, y in extents)  # fmt: skip
    return a.dtype == b.dtype and a.ndim == b.ndim and same


def touched_by(loop: For) -> Touched | None:
    """What `loop` touches; `None` where it calls, leaves, or uses addresses."""
    found = Touched(reduced=reduced_by(loop))
    streamed: set[int] = set()  # address_of in a streaming store
    for node in walk(loop.body):
        if isinstance(node, Allocate):
            found.own.add(node.buffer.data)
        if not _add(node, found, streamed) or found.count > LARGEST_BODY:
            return None
    return found


def reduced_by(loop: For) -> set[Var]:
    """The scalars that iterations of `loop` combine their values in, in any order."""
    reductions = annotation(loop.annotations, REDUCTION, ())
    assert isinstance(reductions, tuple)
    return {buffer.data for _, buffer in reductions}


def may_be_product(value: Expr) -> bool:
    """Whether the last operation of `value` may be a multiplication of floats."""
    return value.dtype.is_float and not isinstance(value, _NO_PRODUCT)


def _add(node: Node, found: Touched, streamed: set[int]) -> bool:
    """Note what `node` itself touches; whether it is one of the nodes that are understood."""
    match node:
        case For(start=start, extent=extent):
            found.reduced |= reduced_by(node)
            first, count = const_value(start), const_value(extent)
            found.inner[node.var] = None
            if isinstance(first, int) and isinstance(count, int):
                found.inner[node.var] = (first, first + count - 1)
        case Bind() | Let():
            found.inner[node.var] = None
            found.summands.add(id(node.value))  # whatever the name is used for
        case BufferStore():
            found.add(Access(node.buffer, node.indices, True, may_be_product(node.value)))
        case Add(BufferLoad(buffer=buffer), b) if buffer.data in found.reduced:
            pass  # the sum is rounded in any order anyway
        case Add(a, b) | Sub(a, b) | Select(_, a, b):
            found.summands.update((id(a), id(b)))
        case BufferLoad():
            is_summand = id(node) in found.summands
            found.add(Access(node.buffer, node.indices, False, is_summand=is_summand))
        case Call(op=op) if op == _STREAM:
            size = const_value(node.args[2])
            for pointer, stores in zip(node.args[:2], (True, False)):
                place = pointer.args[0] if isinstance(pointer, Call) else None
                if not isinstance(place, BufferLoad) or not isinstance(size, int):
                    return False
                streamed.add(id(pointer))
                found.add_run(place, size // place.dtype.itemsize, stores)
        case Call(op="address_of" | "access_ptr"):
            return id(node) in streamed
        case Call(op=op):
            found.summands.update(map(id, node.args))
            return effect_of(op) is Effect.PURE and op != "call_pure_extern"
        case Var():
            return node.dtype.kind != "handle"
        case _:
            return isinstance(node, (Expr, *_PLAIN))
    return True


def meet_in_step(a: Touched, b: Touched, var: Var, other: Var, storages: Storages) -> bool:
    """Whether iteration i of `a` (over `var`) and j of `b` (over `other`) touch one element, which
    one of them stores, only where i == j."""
    for x_data, xs in a.by_storage.items():
        for y_data, ys in b.by_storage.items():
            if x_data is not y_data and not storages.may_be_one(xs[0].buffer, ys[0].buffer):
                continue
            for x, y in product(xs, ys):
                if not (x.stores or y.stores):
                    continue
                comparable = (
                    storages.is_one_space(x.buffer, y.buffer)
                    and storages.is_plain(x.buffer)
                    and storages.is_plain(y.buffer)
                )
                if not comparable or not _differ(x, y, var, other, a.inner, b.inner):
                    return False
    return True


def _differ(
    x: Access, y: Access, var: Var, other: Var,
    x_inner: Mapping[Var, _Bounds | None], y_inner: Mapping[Var, _Bounds | None],
) -> bool:  # fmt: skip
    """Whether some index is another one in every two iterations of different number.

    x = c * i + p, y = c * j + q with |p - q| < |c|: equal only where i == j.
    """
    for f, g in zip(x.forms, y.forms):
        if f is None or g is None:
            continue
        factor = f.terms.get(var, 0)
        if factor == 0 or g.terms.get(other, 0) != factor:
            continue
        low = high = f.constant - g.constant
        outer: dict[Var, int] = {}
        for form, own, inner, sign in ((f, var, x_inner, 1), (g, other, y_inner, -1)):
            for term, coefficient in form.terms.items():
                if term is own:
                    continue
                if term not in inner:
                    outer[term] = outer.get(term, 0) + sign * coefficient
                    continue
                bounds = inner[term]
                if bounds is None:
                    outer[term] = 1  # anything
                    continue
                ends = [sign * coefficient * end for end in bounds]
                low, high = low + min(ends), high + max(ends)
        if not any(outer.values()) and -abs(factor) < low and high < abs(factor):
            return True
    return False


def would_contract(a: Touched, b: Touched, storages: Storages) -> bool:
    """Whether in one loop a sum of `b` could be contracted with a product that `a` stores.

    The C compiler does that where nobody else needs the product: it is stored over, or nothing
    else loads it and its storage is so small that it may be a variable of the function.
    """
    for data, stores in a.by_storage.items():
        others = b.by_storage.get(data, ())
        if any(x.is_product for x in stores) and any(y.is_summand for y in others):
            loads = sum(not x.stores for x in (*stores, *others))
            if any(y.stores for y in others) or (
                storages.is_small(data) and loads == storages.loads.get(data, 0)
            ):
                return True
    return False


def has_lanes(loop: For, touched: Touched) -> bool:
    """Whether the C compiler may run iterations side by side, as far as stores decide that."""
    summed = reduced_by(loop)
    return all(
        access.buffer.dtype.bits != 4 and (data in summed or _uses(access.indices, loop.var))
        for data, accesses in touched.by_storage.items() for access in accesses if access.stores
    )  # fmt: skip


def _uses(indices: Sequence[Expr], var: Var) -> bool:
    return any(v is var for index in indices for v in used_vars(index))
