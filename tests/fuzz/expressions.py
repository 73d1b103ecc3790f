"""Random scalar expressions as Python text, each with what is known of its value.

Comes in: a `Place` (variables and buffers that may be used there). Goes out: `(text, Value)` pairs.
Whatever would divide by zero, leave an on-chip buffer, overflow a signed type, or let a rounding
decide a branch is not generated.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from tests.fuzz import values as v
from tests.fuzz.values import INTEGERS, PRECISION, Rejected, Value

Typed: TypeAlias = "tuple[str, Value]"
FLOATS = tuple(PRECISION)
KINDS = (*FLOATS, *INTEGERS, "bool")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


@dataclass(frozen=True)
class Storage:
    """A buffer of the program; `root` names the memory that it shares with its views."""

    name: str
    kind: str
    shape: tuple[int, ...]
    scope: str  # "global", "shared", "fragment", "local" or "var"
    root: str
    dims: tuple[str, ...] = ()  # the extents as they are written


@dataclass(frozen=True)
class Index:
    """An integer variable that runs from `low` to `high`."""

    text: str
    low: int
    high: int
    is_parallel: bool = False


@dataclass
class Place:
    """What an expression may use."""

    indices: list[Index] = field(default_factory=list)
    loads: list[tuple[Storage, Value]] = field(default_factory=list)
    exact_loads: list[tuple[str, Value]] = field(default_factory=list)  # whole terms
    in_parallel: bool = False
    is_conditional: bool = False

    def within(self, **changes: object) -> Place:
        """A copy with changes; lists are not shared."""
        lists = {n: list(getattr(self, n)) for n in ("indices", "loads", "exact_loads")}
        return replace(self, **{**lists, **changes})  # type: ignore[arg-type]


class Expressions:
    """Generates expressions from one random source."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def typed(self, kind: str, place: Place, depth: int = 3) -> Typed:
        """An expression of type `kind`."""
        for _ in range(6):
            try:
                return self._attempt(kind, place, depth)
            except Rejected:
                depth = max(0, depth - 1)
        return self.constant(kind)

    def _attempt(self, kind: str, place: Place, depth: int) -> Typed:
        if depth <= 0 or self.rng.random() < 0.15:
            return self.leaf(kind, place)
        common = [self._choice, self._cast, self._extreme, self.leaf]
        if kind == "bool":
            makers = [self._comparison, self._comparison, self._logic, self._choice, self.leaf]
        elif kind in PRECISION:
            makers = [self._arithmetic] * 5 + [self._divide, self._function, *common]
        else:
            makers = [self._arithmetic] * 4 + [self._divide, self._bits, *common]
        return self.rng.choice(makers)(kind, place, depth - 1)

    # -- leaves ------------------------------------------------------------------------------------

    def constant(self, kind: str) -> Typed:
        """A literal of that type."""
        if kind == "bool":  # a constant condition, decided while the kernel is traced
            flag = self.rng.random() < 0.5
            return f"T.cast({int(flag)}, 'bool')", Value(kind, int(flag), int(flag))
        if kind in PRECISION:
            number = self.rng.randint(-8, 8) / self.rng.choice((1, 1, 2, 4))
            return f"T.{kind}({number})", Value(kind, number, number, 2)
        number = self.rng.randint(0 if kind.startswith("u") else -5, 9)
        return f"T.{kind}({number})", Value(kind, number, number)

    def leaf(self, kind: str, place: Place, depth: int = 0) -> Typed:
        del depth
        exact = [t for t in place.exact_loads if t[1].kind == kind]
        if exact and self.rng.random() < 0.5:
            return self.rng.choice(exact)
        found = [p for p in place.loads if p[1].kind == kind]
        if found and self.rng.random() < 0.75:
            recent = max(self.rng.randrange(len(found)), self.rng.randrange(len(found)))
            return self.load(*found[recent], place)
        if kind == "bool" and place.indices:
            index = self.rng.choice(place.indices)
            number = self.rng.randint(index.low, index.high + 1)
            return f"({index.text} {self.rng.choice(COMPARISONS)} {number})", Value(kind, 0, 1)
        if place.loads and self.rng.random() < 0.4:
            text, value = self.load(*self.rng.choice(place.loads), place)
            return self._converted(text, value, kind)
        if kind in INTEGERS and place.indices and self.rng.random() < 0.6:
            index = self.rng.choice(place.indices)
            return self._converted(index.text, Value("int32", index.low, index.high), kind)
        return self.constant(kind)

    def _converted(self, text: str, value: Value, kind: str) -> Typed:
        if value.kind == kind:
            return text, value
        made = v.converted(value, kind)
        forms = (f"T.cast({text}, '{kind}')", f"T.Cast('{kind}', {text})", f"T.{kind}({text})")
        return self.rng.choice(forms), made

    def load(self, storage: Storage, value: Value, place: Place) -> Typed:
        """An element of a buffer."""
        if storage.scope == "var":
            return storage.name, value
        can_miss = storage.scope == "global"
        texts, misses = [], False
        for extent in storage.shape:
            text, inside = self.position(extent, storage, place, can_miss)
            texts.append(text)
            misses |= not inside
        if misses:
            value = v.join(value, Value(value.kind, 0, 0))
        return f"{storage.name}[{', '.join(texts)}]", value

    # -- indices -----------------------------------------------------------------------------------

    def position(
        self, extent: int, storage: Storage, place: Place, can_miss: bool
    ) -> tuple[str, bool]:
        """An index of an axis of that many elements, and whether it is surely inside."""
        usable = place.indices
        if storage.scope == "local":
            usable = [i for i in usable if not i.is_parallel]
        usable = [i for i in usable if i.low >= 0]
        fitting = [i for i in usable if i.high < extent]
        roll = self.rng.random()
        if fitting and roll < 0.6:
            return self._fitting(self.rng.choice(fitting), extent), True
        if roll < 0.7 and (found := self._indirect(extent, storage, place, can_miss)):
            return found
        if usable and roll < 0.95:
            return self._bent(self.rng.choice(usable), extent, place, can_miss)
        return str(self.rng.randrange(extent)), True

    def _fitting(self, index: Index, extent: int) -> str:
        spare = extent - 1 - index.high
        roll = self.rng.random()
        if roll < 0.12:
            return f"{extent - 1} - {index.text}"
        if spare > 0 and roll < 0.3:
            return f"{index.text} + {self.rng.randint(1, spare)}"
        return index.text

    def _bent(self, index: Index, extent: int, place: Place, can_miss: bool) -> tuple[str, bool]:
        text, offset = index.text, self.rng.randint(0, 5)
        makers = [
            (f"({text} * {self.rng.randint(1, 3)} + {offset}) % {extent}", True),
            (f"T.min({text}, {extent - 1})", True),
            (f"T.max({extent - 1} - {text}, 0)", True),
        ]
        if index.high // 2 < extent:
            makers.append((f"{text} // 2", True))
        if can_miss:
            makers += [(f"{text} + {offset}", False), (f"{text} * 2", False)]
            if index.low < 2 <= index.high and not place.is_conditional:
                makers.append((f"{text} - 2", False))
        return self.rng.choice(makers)

    def _indirect(
        self, extent: int, storage: Storage, place: Place, can_miss: bool
    ) -> tuple[str, bool] | None:
        found = [
            (s, x) for s, x in place.loads
            if x.kind in ("int32", "int64", "uint8") and s.name != storage.name
            and not (storage.scope == "local" and place.in_parallel)
        ]  # fmt: skip
        if not found:
            return None
        source, value = self.rng.choice(found)
        flat = place.within(loads=[p for p in place.loads if p[1].kind not in INTEGERS])
        text, value = self.load(source, value, flat)
        if value.low >= 0 and value.high < extent:
            return text, True
        if can_miss and value.low < extent and value.high >= 0 and abs(value.magnitude) < 2**20:
            return text, False
        return f"T.min(T.max({text}, 0), {extent - 1})", True

    # -- operations --------------------------------------------------------------------------------

    def _arithmetic(self, kind: str, place: Place, depth: int) -> Typed:
        a, x = self.typed(kind, place, depth)
        operator = self.rng.choice("+-*+-*~")
        if operator == "~":
            return f"(-{a})", v.negate(x)
        b, y = self.typed(kind, place, depth)
        if self.rng.random() < 0.15:  # a bare literal takes the other side's type
            number = self.rng.randint(0, 3)
            b, y = str(number), Value(kind, number, number)
        made = {"+": v.add, "-": lambda p, q: v.add(p, _minus(q)), "*": v.multiply}[operator](x, y)
        return f"({a} {operator} {b})", made

    def _divide(self, kind: str, place: Place, depth: int) -> Typed:
        a, x = self.typed(kind, place, depth)
        b, y = self.typed(kind, place, depth)
        if kind in PRECISION:
            if self.rng.random() < 0.5:
                power = self.rng.choice((2, 4, 8))
                grid = None if x.grid is None else x.grid + power.bit_length() - 1
                scaled = Value(kind, x.low / power, x.high / power, grid, x.error / power)
                return f"({a} / {power})", v.fitted(scaled)
            return f"({a} / (T.abs({b}) + 1))", self._quotient(x, y)
        number = self.rng.choice((2, 3, 5, 8))
        divisor = str(number)
        if not kind.startswith("u") and self.rng.random() < 0.2:
            divisor, number = f"T.{kind}(-{number})", -number
        elif self.rng.random() < 0.4 and y.low > -120:
            divisor = f"T.max({b}, {number})"
        bound = x.magnitude
        if self.rng.random() < 0.4:
            largest = max(abs(number), y.magnitude)
            name = self.rng.choice(("%", "floormod", "truncmod"))
            rest = Value(kind, 0 if kind.startswith("u") else -largest, largest)
            return _call_or_operator(name, a, divisor), _within_type(rest)
        low = 0 if kind.startswith("u") else -bound
        name = self.rng.choice(("//", "floordiv", "truncdiv"))
        return _call_or_operator(name, a, divisor), _within_type(Value(kind, low, bound))

    def _quotient(self, x: Value, y: Value) -> Value:
        error = x.error + x.magnitude * y.error
        bound = x.magnitude
        return v.fitted(Value(x.kind, -bound, bound, None, error), 4)

    def _bits(self, kind: str, place: Place, depth: int) -> Typed:
        a, x = self.typed(kind, place, depth)
        b, y = self.typed(kind, place, depth)
        limit = 1
        while limit <= max(x.magnitude, y.magnitude):
            limit *= 2
        either = Value(kind, 0 if kind.startswith("u") else -limit, limit - 1)
        roll = self.rng.randrange(5)
        if roll == 0:
            low, high = INTEGERS[kind]
            total = high if kind.startswith("u") else -1  # x + ~x
            ends = max(low, total - x.high), min(high, total - x.low)
            return f"(~{a})", Value(kind, *ends)
        if roll == 1:
            count = self.rng.randint(0, 3)
            low, high = x.low * 2**count, x.high * 2**count
            if low < INTEGERS[kind][0] or high > INTEGERS[kind][1]:
                raise Rejected("the shift overflows")
            return f"({a} << {count})", Value(kind, low, high)
        if roll == 2:
            return f"({a} >> {self.rng.randint(0, 3)})", v.join(x, Value(kind, min(x.low, 0), 0))
        return f"({a} {self.rng.choice('&|^')} {b})", _within_type(either)

    def _extreme(self, kind: str, place: Place, depth: int) -> Typed:
        a, x = self.typed(kind, place, depth)
        b, y = self.typed(kind, place, depth)
        roll = self.rng.randrange(4)
        if roll == 0:
            return f"T.max({a}, {b})", v.maximum(x, y)
        if roll == 1:
            return f"T.min({a}, {b})", v.minimum(x, y)
        if roll == 2 and not kind.startswith("u"):
            return f"T.abs({a})", v.absolute(x)
        low, high = sorted(self.rng.sample(range(8), 2))
        ends = Value(kind, low, low), Value(kind, high, high)
        return f"T.clamp({a}, {low}, {high})", v.minimum(v.maximum(x, ends[0]), ends[1])

    def _function(self, kind: str, place: Place, depth: int) -> Typed:
        a, x = self.typed(kind, place, depth)
        bound = x.magnitude
        match self.rng.randrange(8):
            case 0:
                return f"T.sqrt(T.abs({a}) + 1)", v.smooth(x, 1, bound + 1, 0.5)
            case 1:
                return f"T.rsqrt(T.abs({a}) + 1)", v.smooth(x, 0, 1, 0.5)
            case 2:
                return f"T.tanh({a})", v.smooth(x, -1, 1, 1)
            case 3:
                return f"T.sigmoid({a})", v.smooth(x, 0, 1, 0.25)
            case 4:
                name = self.rng.choice(("exp2", "exp"))
                return f"T.{name}(T.min(T.max({a}, -4), 2))", v.smooth(x, 0, 8, 8)
            case 5:
                return f"T.log(T.abs({a}) + 1)", v.smooth(x, 0, bound, 1)
            case 6 if x.is_exact:
                name = self.rng.choice(("floor", "ceil", "trunc", "nearbyint", "round"))
                whole = Value(kind, x.low - 1, x.high + 1, 0)
                return f"T.{name}({a})", v.fitted(whole)
            case _:
                return f"T.sin({a})", v.smooth(x, -1, 1, 1)

    def _choice(self, kind: str, place: Place, depth: int) -> Typed:
        condition = self.condition(place, depth)
        inner = place.within(is_conditional=True)
        a, x = self.typed(kind, inner, depth)
        b, y = self.typed(kind, inner, depth)
        forms = (
            f"T.if_then_else({condition}, {a}, {b})",
            f"({a} if {condition} else {b})",
            f"T.Select({condition}, {a}, {b})",
        )
        return self.rng.choice(forms), v.join(x, y)

    def condition(self, place: Place, depth: int = 2) -> str:
        """A bool expression."""
        return self.typed("bool", place, depth)[0]

    def _comparison(self, kind: str, place: Place, depth: int) -> Typed:
        other = self.rng.choice(KINDS[:-1])
        a, x = self.typed(other, place, depth)
        b, y = self.typed(other, place, depth)
        if not (x.is_exact and y.is_exact):
            raise Rejected("a rounding would decide")
        return f"({a} {self.rng.choice(COMPARISONS)} {b})", Value(kind, 0, 1)

    def _logic(self, kind: str, place: Place, depth: int) -> Typed:
        a = self.condition(place, depth)
        b = self.condition(place.within(is_conditional=True), depth)
        forms = (f"({a} and {b})", f"({a} or {b})", f"(not {a})", f"T.all({a}, {b})")
        return self.rng.choice(forms), Value(kind, 0, 1)

    def _cast(self, kind: str, place: Place, depth: int) -> Typed:
        text, value = self.typed(self.rng.choice(KINDS), place, depth)
        return self._converted(text, value, kind)


def _minus(a: Value) -> Value:
    return replace(a, low=-a.high, high=-a.low)


def _within_type(value: Value) -> Value:
    low, high = INTEGERS[value.kind]
    return replace(value, low=max(low, value.low), high=min(high, value.high))


def _call_or_operator(name: str, a: str, b: str) -> str:
    return f"T.{name}({a}, {b})" if name.isalpha() else f"({a} {name} {b})"
