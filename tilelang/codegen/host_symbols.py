"""Which argument gives which symbol.

A kernel's shapes and strides may contain variables that no scalar parameter carries. `plan_symbols`
decides, from the parameters alone, where each one is read at a call: shapes first, strides next, a
plain `n` before a linear form `a*n + b`. `codegen.host_c` turns the plan into text; adapters of
other conventions may read the same plan. It makes no text and looks at no argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from tilelang.errors import ArgumentError, Note
from tilelang.ir.buffer import Buffer, Extent, extent_of
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Add, Cast, IntImm, Mul, Sub, Var, add, as_expr, mul, sub
from tilelang.ir.func import PrimFunc
from tilelang.ir.record import record
from tilelang.ir.visitor import used_buffers, used_vars

Linear: TypeAlias = tuple[Extent, Extent]  # (a, b) of a*n + b


# Expressions overload `==`, so these compare by identity, and membership of a Var is asked of sets.
@record(eq=False)
class Site:
    """One declared extent or stride of a buffer parameter."""

    buffer: Buffer
    axis: int
    is_stride: bool
    value: Extent


@record(eq=False)
class Binding:
    """`var` is what makes `factor * var + offset` equal to the argument's value at `site`."""

    var: Var
    site: Site
    factor: Extent
    offset: Extent
    alternatives: tuple[Site, ...] = ()  # the same stride elsewhere: extent 1 tells nothing of it


@record(eq=False)
class SymbolPlan:
    """How the symbols of a function are found at a call."""

    symbols: tuple[Var, ...]  # as `dynamic_symbols` gives them
    bindings: tuple[Binding, ...]  # in an order in which each needs only earlier ones
    optional: frozenset[Buffer]  # parameters that may be None

    def binding_of(self, var: Var) -> Binding | None:
        """Where `var` comes from; `None` for a scalar parameter."""
        return next((b for b in self.bindings if b.var is var), None)


@record
class Storage:
    """How elements of a dtype lie in a tensor that a caller passes.

    `numerator / denominator` storage elements stand for one element along the last axis: 1/2 for
    the packed 4-bit types, the number of lanes for vectors.
    """

    dtypes: tuple[tuple[int, int, int], ...]  # DLPack (code, bits, lanes) that are accepted
    itemsize: int  # bytes
    numerator: int
    denominator: int


def storage_of(kind: dtype) -> Storage:
    """The tensors that can carry elements of `kind`."""
    element = kind.element
    code = element.type_code
    if element.bits == 4:
        bytes_ = ((0, 8, 1), (1, 8, 1))
        packed = ((code, 4, 2),) if element.is_float else ()
        half = kind.lanes % 2
        return Storage(
            packed + bytes_, 1, kind.lanes if half else kind.lanes // 2, 2 if half else 1
        )
    if element.bits == 6 or element == "float4_e2m1_unpacked":  # in the low bits of each byte
        return Storage(((1, 8, 1), (0, 8, 1)), 1, kind.lanes, 1)
    accepted = {"float8_e4m3": ((8, 8, 1), (10, 8, 1)), "handle": ((0, 64, 1), (1, 64, 1))}
    dtypes = accepted.get(str(element), ((code, element.bits, 1),))
    return Storage(dtypes, element.itemsize, kind.lanes, 1)


def symbols_in(values: Iterable[Extent]) -> dict[Var, None]:
    """Variables of some extents, each once, in order (an ordered set)."""
    return {var: None for value in values for var in used_vars(as_expr(value))}


def dynamic_symbols(func: PrimFunc) -> tuple[Var, ...]:
    """Variables of shapes in buffer order, then of strides, each once, without parameters."""
    buffers = func.buffer_params
    shapes = [extent for b in buffers for extent in b.shape]
    strides = [stride for b in buffers for stride in b.declared_strides or ()]
    scalars = {p for p in func.params if isinstance(p, Var)}
    return tuple(v for v in symbols_in([*shapes, *strides]) if v not in scalars)


def touched_pointers(func: PrimFunc) -> frozenset[Var]:
    """Pointers that the body refers to, by themselves or through a buffer or a view of one."""
    return frozenset(b.data for b in used_buffers(func.body)) | frozenset(used_vars(func.body))


def plan_symbols(func: PrimFunc) -> SymbolPlan:
    """Decide where each symbol of `func` is read, and which parameters may be None.

    Raises:
        ArgumentError: when no argument determines a symbol.
    """
    symbols = dynamic_symbols(func)
    touched = touched_pointers(func)
    required = [b for b in func.buffer_params if b.data in touched]
    scalars = [p for p in func.params if isinstance(p, Var)]
    needed = _needed_symbols(func, symbols)
    while True:
        bindings, unbound = _bind(required, scalars)
        missing = [v for v in unbound + needed if not _is_bound(v, bindings)]
        more = next((b for b in _others(func, required) if _mentions(b, missing)), None)
        if more is None:
            break
        required = [b for b in func.buffer_params if b in required or b is more]
    optional = _others(func, required)
    known = [*scalars, *(b.var for b in bindings)]
    extra, unbound_optional = _bind(optional, known)
    for var in (*missing, *unbound_optional):
        raise _undetermined(func, var)
    return SymbolPlan(symbols, (*bindings, *extra), frozenset(optional))


def _needed_symbols(func: PrimFunc, symbols: Sequence[Var]) -> list[Var]:
    in_body = set(used_vars(func.body))
    for buffer in used_buffers(func.body):
        in_body |= set(symbols_in((*buffer.shape, *buffer.strides, buffer.elem_offset)))
    return [v for v in symbols if v in in_body]


def _others(func: PrimFunc, required: Sequence[Buffer]) -> list[Buffer]:
    return [b for b in func.buffer_params if b not in required]


def _mentions(buffer: Buffer, variables: Iterable[Var]) -> bool:
    found = symbols_in((*buffer.shape, *(buffer.declared_strides or ())))
    return any(v in found for v in variables)


def _is_bound(var: Var, bindings: Sequence[Binding]) -> bool:
    return any(b.var is var for b in bindings)


def _bind(buffers: Sequence[Buffer], known: Sequence[Var]) -> tuple[list[Binding], list[Var]]:
    """Bindings that `buffers` give beyond `known`, and the symbols of theirs that stay open."""
    shapes = [Site(b, i, False, e) for b in buffers for i, e in enumerate(b.shape)]
    strides = [Site(b, i, True, e) for b in buffers for i, e in enumerate(b.declared_strides or ())]
    bound = set(known)
    bindings: list[Binding] = []
    # Each round takes the first site of the best kind, so what it binds may open a better one.
    kinds: tuple[tuple[list[Site], Callable[[Site, set[Var]], Binding | None]], ...] = (
        (shapes, _plain), (shapes, _linear), (strides, _plain), (strides, _linear),
    )  # fmt: skip
    while True:
        found = next((b for sites, rule in kinds for s in sites if (b := rule(s, bound))), None)
        if found is None:
            open_symbols = symbols_in(s.value for s in [*shapes, *strides])
            return bindings, [v for v in open_symbols if v not in bound]
        same = tuple(
            s
            for s in strides
            if found.site.is_stride and s.value is found.var and s is not found.site
        )
        bindings.append(Binding(found.var, found.site, found.factor, found.offset, same))
        bound.add(found.var)


def _plain(site: Site, bound: set[Var]) -> Binding | None:
    if isinstance(site.value, Var) and site.value not in bound:
        return Binding(site.value, site, 1, 0)
    return None


def _linear(site: Site, bound: set[Var]) -> Binding | None:
    unbound = [v for v in symbols_in([site.value]) if v not in bound]
    form = linear_form(site.value, unbound[0]) if len(unbound) == 1 else None
    return None if form is None else Binding(unbound[0], site, *form)


def linear_form(value: Extent, var: Var) -> Linear | None:
    """`(a, b)` with `value == a * var + b` and `var` in neither; `None` when there is none."""
    if value is var:
        return 1, 0
    if isinstance(value, int) or var not in symbols_in([value]):
        return 0, value
    match value:
        case Cast(value=inner, dtype=kind) if kind.is_int and inner.dtype.is_int:
            return linear_form(inner, var)
        case Add(a=a, b=b) | Sub(a=a, b=b):
            left, right = linear_form(a, var), linear_form(b, var)
            combine = add if isinstance(value, Add) else sub
            if left is None or right is None:
                return None
            return _extent(combine, left[0], right[0]), _extent(combine, left[1], right[1])
        case Mul(a=a, b=b):
            inner, scale = (a, b) if var in symbols_in([a]) else (b, a)
            form = None if var in symbols_in([scale]) else linear_form(inner, var)
            if form is None:
                return None
            return _extent(mul, form[0], extent_of(scale)), _extent(mul, form[1], extent_of(scale))
        case _:
            return None


def _extent(operation: Callable[..., object], a: Extent, b: Extent) -> Extent:
    result = operation(as_expr(a), as_expr(b))
    assert not isinstance(result, int), "operations on expressions give expressions"
    return result.value if isinstance(result, IntImm) else result  # type: ignore[return-value]


def _undetermined(func: PrimFunc, var: Var) -> ArgumentError:
    places = [
        (b, text)
        for b in func.buffer_params
        for text in (*b.shape, *(b.declared_strides or ()))
        if var in symbols_in([text])
    ]
    where = ", ".join(f"`{text}` of `{b.name}`" for b, text in places)
    return ArgumentError(
        f"{func.name}: no argument determines `{var.name}`, which occurs only in {where}",
        var.span or func.span,
        notes=[Note(b.span, f"`{b.name}` is declared here") for b, _ in places if b.span],
        hint=f"add a parameter `{var.name}: T.{var.dtype}`, or a dimension that is `{var.name}`",
    )
