"""Integer expressions as linear forms.

`convert` is the way in: sums, differences and products are multiplied out, quotients and remainders
go to `division`, minima are merged, everything else becomes an atom whose operands are simplified.
Signed arithmetic does not overflow by
contract; unsigned arithmetic is opened only where bounds show that it does not wrap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tilelang.arith import bounds, division, interval
from tilelang.arith.digits import recombine
from tilelang.arith.linear import (
    MAX_PRODUCT_TERMS,
    Linear,
    Monomial,
    add,
    multiply,
    number,
    scale,
)
from tilelang.arith.terms import Unrepresentable, key_of
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import (
    Add,
    BitAnd,
    BitNot,
    BitOr,
    BitXor,
    Call,
    Cast,
    Expr,
    FloorDiv,
    FloorMod,
    IntImm,
    Let,
    Max,
    Min,
    Mul,
    Select,
    ShiftLeft,
    ShiftRight,
    Sub,
    TruncDiv,
    TruncMod,
    Var,
)
from tilelang.ir.ops import Effect, effect_of

if TYPE_CHECKING:
    from tilelang.arith.analyzer import Analyzer

SIGNED = frozenset(dtype(f"int{n}") for n in (4, 8, 16, 32, 64))
INTEGERS = SIGNED | frozenset(dtype(f"uint{n}") for n in (4, 8, 16, 32, 64))


def convert(an: Analyzer, expr: Expr) -> Linear:
    """The linear form of the scalar integer `expr`; not memoised."""
    method = _CONVERT.get(type(expr))
    return method(an, expr) if method is not None else opaque(an, expr)


def difference(an: Analyzer, a: Expr, b: Expr) -> Linear:
    """`a - b`."""
    terms: dict[Monomial, int] = {}
    const = _accumulate(an, a, 1, terms) + _accumulate(an, b, -1, terms)
    return recombine(an, terms, const)


# -- sums and products -----------------------------------------------------------------------------


def _sum(an: Analyzer, expr: Any) -> Linear:
    if expr.dtype not in SIGNED:
        return _unsigned(an, expr)
    terms: dict[Monomial, int] = {}
    return recombine(an, terms, _accumulate(an, expr, 1, terms))


def _accumulate(an: Analyzer, expr: Expr, factor: int, terms: dict[Monomial, int]) -> int:
    """Add `factor * expr` to `terms`, long sums without recursion; returns the constant part."""
    const = 0
    stack: list[tuple[Any, int]] = [(expr, factor)]
    while stack:
        node, k = stack.pop()
        kind = type(node)
        if kind is IntImm:
            const += k * node.value
            continue
        if (kind is Add or kind is Sub) and node.dtype in SIGNED:
            stack.append((node.b, k if kind is Add else -k))
            stack.append((node.a, k))
            continue
        if kind is Mul and node.dtype in SIGNED:
            if type(node.b) is IntImm:
                stack.append((node.a, k * node.b.value))
                continue
            if type(node.a) is IntImm:
                stack.append((node.b, k * node.a.value))
                continue
        linear = an.linear(node)
        const += k * linear.const
        for monomial, coefficient in linear.terms:
            terms[monomial] = terms.get(monomial, 0) + k * coefficient
    return const


def _product(an: Analyzer, expr: Any) -> Linear:
    if expr.dtype not in SIGNED:
        return _unsigned(an, expr)
    a, b = an.linear(expr.a), an.linear(expr.b)
    terms = an.terms
    # Multiplying out writes each side as often as the other has summands.
    may_repeat = (a.length <= 1 or terms.is_cheap(b)) and (b.length <= 1 or terms.is_cheap(a))
    if may_repeat and a.length * b.length <= MAX_PRODUCT_TERMS:
        made = multiply(a, b)
        return recombine(an, dict(made.terms), made.const)
    return _binary_atom(an, Mul, min(a, b), max(a, b), expr.dtype)


def _unsigned(an: Analyzer, expr: Any) -> Linear:
    a, b = an.linear(expr.a), an.linear(expr.b)
    kind = type(expr)
    made = multiply(a, b) if kind is Mul else add(a, b, 1 if kind is Add else -1)
    if interval.holds(expr.dtype, bounds.of_linear(an, made)) and _may_repeat(an, kind, a, b):
        return recombine(an, dict(made.terms), made.const)
    if kind is not Sub:
        a, b = sorted((a, b))
    return _binary_atom(an, kind, a, b, expr.dtype)


def _may_repeat(an: Analyzer, kind: type, a: Linear, b: Linear) -> bool:
    if kind is not Mul:
        return True
    both = an.terms.is_cheap(a) and an.terms.is_cheap(b)
    return (both and a.length * b.length <= MAX_PRODUCT_TERMS) or (a.length <= 1 and b.length <= 1)


def _binary_atom(an: Analyzer, kind: Any, a: Linear, b: Linear, typ: dtype) -> Linear:
    build = an.terms.build
    return an.terms.atom(kind, typ, (a, b), lambda: kind(build(a, typ), build(b, typ)))


# -- division, minima, bits ------------------------------------------------------------------------


def _floordiv(an: Analyzer, expr: Any) -> Linear:
    return division.divide(an, an.linear(expr.a), an.linear(expr.b), expr.dtype)


def _floormod(an: Analyzer, expr: Any) -> Linear:
    return division.remainder(an, an.linear(expr.a), an.linear(expr.b), expr.dtype)


def _extremum(an: Analyzer, expr: Any) -> Linear:
    """A minimum or maximum of any number of operands: merged, dominated ones dropped, sorted."""
    kind = type(expr)
    operands: dict[Linear, None] = {}
    stack: list[Any] = [expr]
    while stack:
        node = stack.pop()
        if type(node) is kind:
            stack += (node.b, node.a)
        else:
            _collect(an, kind, an.linear(node), operands)
    kept = _undominated(an, kind, list(operands))
    if len(kept) == 1:
        return kept[0]
    return extremum_atom(an, kind, kept, expr.dtype)


def extremum_atom(an: Analyzer, kind: Any, operands: list[Linear], typ: dtype) -> Linear:
    """The minimum (`kind` is `Min`) or maximum of operands of which none dominates another."""
    args = tuple(sorted(operands, key=lambda x: (x.is_const, x)))
    return an.terms.atom(kind, typ, args, lambda: _chain(an, kind, args, typ))


def _collect(an: Analyzer, kind: type, operand: Linear, into: dict[Linear, None]) -> None:
    index = operand.single()
    if index is not None and an.terms.atoms[index].kind is kind:
        into.update(dict.fromkeys(an.terms.atoms[index].args))
    else:
        into[operand] = None


def _undominated(an: Analyzer, kind: type, operands: list[Linear]) -> list[Linear]:
    if len(operands) > 2 and all(operand.is_const for operand in operands):
        return [min(operands) if kind is Min else max(operands)]
    kept: list[Linear] = []
    for x in operands:
        if len(kept) > 8 or not any(_dominates(an, kind, y, x) for y in kept):
            if len(kept) <= 8:
                kept = [y for y in kept if not _dominates(an, kind, x, y)]
            kept.append(x)
    return kept


def _dominates(an: Analyzer, kind: type, x: Linear, y: Linear) -> bool:
    """Whether `y` adds nothing beside `x`."""
    if kind is Min:
        return an.is_nonpositive(add(x, y, -1))
    if an.is_nonpositive(add(y, x, -1)):
        return True
    return _is_lower_bound(an, x, y)


def _is_lower_bound(an: Analyzer, x: Linear, y: Linear) -> bool:
    """Whether `y` is a minimum with `x` among its operands: `max(x, min(x, z)) -> x`."""
    index = y.single()
    atom = None if index is None else an.terms.atoms[index]
    return atom is not None and atom.kind is Min and x in atom.args


def _chain(an: Analyzer, kind: Any, args: tuple[Linear, ...], typ: dtype) -> Expr:
    made = an.terms.build(args[0], typ)
    for operand in args[1:]:
        made = kind(made, an.terms.build(operand, typ))
    return made


def _by_rules(an: Analyzer, expr: Any) -> Linear:
    """Operations on two integers that the rule tables know more of than linear forms do."""
    kind, typ = type(expr), expr.dtype
    a, b = an.linear(expr.a), an.linear(expr.b)
    node = kind(an.terms.build(a, typ), an.terms.build(b, expr.b.dtype))
    made = an.apply_rules(node)
    if made is not None:
        return an.linear(made)
    return an.fixed(an.terms.atom(kind, typ, (a, b), lambda: node))


def _bit_not(an: Analyzer, expr: Any) -> Linear:
    a = an.linear(expr.a)
    if a.is_const and expr.dtype in SIGNED:
        return number(-1 - a.const)
    build = an.terms.build
    return an.terms.atom(BitNot, expr.dtype, (a,), lambda: BitNot(build(a, expr.dtype)))


# -- casts, choices, everything else ---------------------------------------------------------------


def _cast(an: Analyzer, expr: Any) -> Linear:
    inner, typ = expr.value.dtype, expr.dtype
    if inner not in INTEGERS:
        return opaque(an, expr)
    value = an.linear(expr.value)
    if value.is_const or _contains(typ, inner):
        return value if not value.is_const else number(_wrapped(value.const, typ))
    index = value.single()
    if index is not None and _contains(typ, an.terms.atoms[index].expr.dtype):
        return value  # back to where it came from
    build = an.terms.build
    made = an.terms.atom(Cast, (typ, inner), (value,), lambda: Cast(build(value, inner), typ))
    return an.fixed(made)


def _contains(outer: dtype, inner: dtype) -> bool:
    """Whether every value of type `inner` is one of type `outer`."""
    if outer.kind == inner.kind:
        return outer.bits >= inner.bits
    return inner.kind == "uint" and outer.bits > inner.bits


def _wrapped(value: int, kind: dtype) -> int:
    low = 0 if kind.kind == "uint" else 1 << (kind.bits - 1)
    return (value + low) % (1 << kind.bits) - low


def _select(an: Analyzer, expr: Any) -> Linear:
    condition = an.simplify_inner(expr.condition)
    if isinstance(condition, IntImm):
        return an.linear(expr.then_value if condition.value else expr.else_value)
    a, b = an.linear(expr.then_value), an.linear(expr.else_value)
    if a == b:
        return a
    node = Select(condition, an.terms.build(a, expr.dtype), an.terms.build(b, expr.dtype))
    made = an.apply_rules(node)
    if made is not None:
        return an.linear(made)
    return an.terms.atom(Select, (expr.dtype, key_of(condition)), (a, b), lambda: node)


def _call(an: Analyzer, expr: Any) -> Linear:
    if expr.op == "if_then_else":
        return _guarded(an, expr)
    if expr.op == "abs" and expr.args[0].dtype in SIGNED:
        (x,) = (an.linear(a) for a in expr.args)
        if an.is_nonpositive(scale(x, -1)):
            return x
        if an.is_nonpositive(x):
            return scale(x, -1)
        build, typ = an.terms.build, expr.dtype
        return an.terms.atom(Call, ("abs", typ), (x,), lambda: Call("abs", (build(x, typ),), typ))
    return opaque(an, expr)


def _guarded(an: Analyzer, expr: Call) -> Linear:
    """Only the chosen side is evaluated, so each may be simplified under its condition."""
    condition = an.simplify_inner(expr.args[0])
    if isinstance(condition, IntImm):
        return an.linear(expr.args[1] if condition.value else expr.args[2])
    with an.constraint(condition):
        a = an.linear(expr.args[1])
    with an.constraint(condition, holds=False):
        b = an.linear(expr.args[2])
    if a == b:
        return a
    build, typ = an.terms.build, expr.dtype
    key = ("if_then_else", typ, key_of(condition))
    return an.terms.atom(
        Call, key, (a, b), lambda: Call(expr.op, (condition, build(a, typ), build(b, typ)), typ)
    )


def _let(an: Analyzer, expr: Any) -> Linear:
    made = an.simplify_let(expr)
    if isinstance(made, Let):
        return an.terms.atom(Let, key_of(made), (), lambda: made)
    return an.linear(made)


def opaque(an: Analyzer, expr: Expr) -> Linear:
    """An atom of whose value nothing is known but its type; its operands are simplified.

    Raises:
        Unrepresentable: for a call with effects, which must stay where and as often as it is.
    """
    if isinstance(expr, Call) and effect_of(expr.op) is Effect.WRITE:
        raise Unrepresentable(f"`{expr.op}` has effects")
    made = an.map_children(expr)
    rewritten = an.apply_rules(made)
    if rewritten is not None:
        return an.linear(rewritten)
    return an.terms.atom(type(expr), key_of(made), (), lambda: made)


_CONVERT: dict[type[Expr], Callable[[Analyzer, Any], Linear]] = {
    IntImm: lambda an, expr: number(expr.value),
    Var: lambda an, expr: an.variable(expr),
    Add: _sum,
    Sub: _sum,
    Mul: _product,
    FloorDiv: _floordiv,
    FloorMod: _floormod,
    Min: _extremum,
    Max: _extremum,
    **dict.fromkeys((BitAnd, BitOr, BitXor, ShiftLeft, ShiftRight, TruncDiv, TruncMod), _by_rules),
    BitNot: _bit_not,
    Cast: _cast,
    Select: _select,
    Call: _call,
    Let: _let,
}
