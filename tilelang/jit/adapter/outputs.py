"""Outputs that a call allocates: shapes from the other arguments, PyTorch or NumPy as the inputs.

Used by the adapters: `OutputPlan` looks at the kernel once, its `allocate` runs at every call.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tilelang.arith.evaluate import evaluate
from tilelang.codegen.host_symbols import Linear, linear_form, storage_of
from tilelang.errors import ArgumentError, ArgumentTypeError, LanguageError
from tilelang.ir.buffer import Buffer, Extent
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Expr, Var, as_expr
from tilelang.ir.func import PrimFunc
from tilelang.ir.visitor import used_vars

# Kind (0 shape, 1 stride, 2 scalar), parameter, axis (-1 for scalars).
SymbolSource = tuple[int, int, int]


def dynamic_symbol_map(func: PrimFunc) -> dict[Var, SymbolSource]:
    """Where the value of each symbol stands in the arguments: scalars, then shapes, then strides.

    Only symbols that stand alone as a scalar parameter, an extent or a stride are listed.
    """
    found: dict[Var, SymbolSource] = {}
    for position, parameter in enumerate(func.params):
        if isinstance(parameter, Var):
            found.setdefault(parameter, (2, position, -1))
    for kind in (0, 1):
        for position, parameter in enumerate(func.params):
            if isinstance(parameter, Buffer):
                extents = parameter.shape if kind == 0 else parameter.declared_strides or ()
                for axis, extent in enumerate(extents):
                    if isinstance(extent, Var):
                        found.setdefault(extent, (kind, position, axis))
    return found


@dataclass(frozen=True, eq=False)
class InputSource:
    """Which input gives a symbol: what stands at that place of it is `form` of the symbol.

    `kind` is 0 for an extent, 1 for a stride, 2 for the number itself; `unit` elements are one
    element of the tensor that stores them (2 for two 4-bit values in a byte).
    """

    kind: int
    argument: int
    axis: int
    form: Linear | None = None  # `None`: the symbol itself
    unit: Fraction | None = None  # `None`: one


class OutputPlan:
    """How to allocate the outputs of one kernel.

    Args:
        place: device of outputs where no tensor argument has one; `None`: PyTorch's default.

    Attributes:
        positions: parameters that are outputs, in the order in which they are returned.
    """

    def __init__(self, func: PrimFunc, positions: Sequence[int], place: str | None = None) -> None:
        self.func = func
        self.place = place
        self.positions = list(positions)
        self.input_positions = [k for k in range(len(func.params)) if k not in self.positions]
        self.symbols: dict[Var, InputSource] = _input_symbols(func, self.input_positions)
        self.buffers = [self._output(position) for position in self.positions]
        self.shapes = [_static_shape(b) for b in self.buffers]

    def _output(self, position: int) -> Buffer:
        parameter = self.func.params[position]
        if not isinstance(parameter, Buffer):
            raise ArgumentError(
                f"out_idx: parameter {position} `{parameter.name}` of `{self.func.name}` "
                "is no tensor"
            )
        for extent in parameter.shape:
            for var in used_vars(as_expr(extent)):
                if var not in self.symbols:
                    raise LanguageError(
                        f"the shape of output `{parameter.name}` needs `{var.name}`, "
                        "which no argument gives",
                        parameter.span,
                        hint=f"give some argument a dimension, stride or scalar `{var.name}`",
                    )
        return parameter

    def allocate(self, args: Sequence[Any]) -> list[Any]:
        """Fresh outputs for these inputs: PyTorch tensors, or NumPy arrays when all inputs are.

        Raises:
            ArgumentError: for an output with a dimension of 0 or less, or an input that does not
                have the axis whose extent is needed.
            ArgumentTypeError: for an input of the wrong kind where an extent is needed.
        """
        make = _allocator(args, self.place)
        values: dict[Var, int] = {}
        outputs = []
        for buffer, static in zip(self.buffers, self.shapes):
            shape = static if static is not None else self._shape(buffer, args, values)
            outputs.append(make(shape, buffer.dtype))
        return outputs

    def _shape(
        self, buffer: Buffer, args: Sequence[Any], values: dict[Var, int]
    ) -> tuple[int, ...]:
        if not values:
            for var, source in self.symbols.items():
                if args[source.argument] is not None:
                    values[var] = self._symbol_value(var, source, args[source.argument], values)
        extents = tuple(_extent_value(e, values) for e in buffer.shape)
        _check_extents(buffer, extents)
        return _stored_shape(extents, buffer.dtype)

    def _symbol_value(
        self, var: Var, source: InputSource, argument: Any, values: Mapping[Var, int]
    ) -> int:
        number = self._number_at(source, argument)
        if source.form is None and source.unit is None:
            return number
        found = number * (source.unit or 1)
        factor, offset = (_extent_value(v, values) for v in source.form or (1, 0))
        value = Fraction(found - offset, factor) if factor else Fraction(1, 2)
        if value.denominator != 1 and source.unit is None:
            raise ArgumentError(
                f"{self._where(source)}: no `{var.name}` gives it {found} elements "
                f"along axis {source.axis}"
            )
        return math.floor(value)

    def _number_at(self, source: InputSource, argument: Any) -> int:
        """The number, extent or stride that the argument has at the place."""
        if source.kind == 2:
            if isinstance(argument, str) or not hasattr(argument, "__index__"):
                raise self._wrong_kind(source, "an integer", argument)
            return argument.__index__()
        shape = getattr(argument, "shape", None)
        if shape is None:
            raise self._wrong_kind(source, "a tensor", argument)
        if len(shape) <= source.axis:
            raise ArgumentError(
                f"{self._where(source)}: rank {len(shape)}, but axis {source.axis} is needed"
            )
        if source.kind == 0:
            return int(shape[source.axis])
        if hasattr(argument, "stride"):
            return int(argument.stride(source.axis))
        return argument.strides[source.axis] // argument.itemsize

    def _wrong_kind(self, source: InputSource, expected: str, argument: Any) -> ArgumentTypeError:
        came = type(argument).__name__
        return ArgumentTypeError(f"{self._where(source)}: expected {expected}, got {came}")

    def _where(self, source: InputSource) -> str:
        parameter = self.func.params[self.input_positions[source.argument]]
        return f"{self.func.name}(): argument {source.argument + 1} `{parameter.name}`"


def _input_symbols(func: PrimFunc, inputs: Sequence[int]) -> dict[Var, InputSource]:
    """Where the inputs give each symbol: scalars first, then extents, then strides.

    What stands alone comes before what has to be solved for.
    """
    found: dict[Var, InputSource] = {}
    for k, position in enumerate(inputs):
        parameter = func.params[position]
        if isinstance(parameter, Var) and parameter.dtype.is_int:
            found.setdefault(parameter, InputSource(2, k, -1))
    places = [
        (kind, k, axis, extent, parameter)
        for kind in (0, 1)
        for k, position in enumerate(inputs)
        if isinstance(parameter := func.params[position], Buffer)
        for axis, extent in enumerate(
            parameter.shape if kind == 0 else parameter.declared_strides or ()
        )
    ]
    for kind, k, axis, extent, buffer in places:
        if isinstance(extent, Var):
            found.setdefault(extent, InputSource(kind, k, axis, unit=_unit(buffer, kind, axis)))
    for kind, k, axis, extent, buffer in places:
        unknown = [v for v in used_vars(as_expr(extent)) if v not in found]
        form = linear_form(as_expr(extent), unknown[0]) if len(unknown) == 1 else None
        if form is not None:
            found[unknown[0]] = InputSource(kind, k, axis, form, _unit(buffer, kind, axis))
    return found


def _unit(buffer: Buffer, kind: int, axis: int) -> Fraction | None:
    """Declared elements per element of storage, at one extent or stride; `None` for one."""
    storage = storage_of(buffer.dtype)
    is_scaled = (axis == buffer.ndim - 1) == (kind == 0)
    if not is_scaled or storage.numerator == storage.denominator:
        return None
    return Fraction(storage.denominator, storage.numerator)


def _extent_value(extent: Extent, values: Mapping[Var, int]) -> int:
    return int(evaluate(extent, values)) if isinstance(extent, Expr) else extent


def _check_extents(buffer: Buffer, extents: Sequence[int]) -> None:
    if any(e <= 0 for e in extents):
        raise ArgumentError(
            f"output `{buffer.name}` would have shape {list(extents)}; "
            "every dimension must be positive"
        )


def _static_shape(buffer: Buffer) -> tuple[int, ...] | None:
    extents = [e for e in buffer.shape if isinstance(e, int)]
    if len(extents) != buffer.ndim:
        return None
    _check_extents(buffer, extents)
    return _stored_shape(tuple(extents), buffer.dtype)


def _stored_shape(extents: tuple[int, ...], kind: dtype) -> tuple[int, ...]:
    """The shape of the storage: packed types count their last axis in bytes."""
    per_byte = kind.elements_per_byte
    return extents if per_byte == 1 or not extents else (*extents[:-1], -(-extents[-1] // per_byte))


def _allocator(args: Sequence[Any], place: str | None) -> Callable[[tuple[int, ...], dtype], Any]:
    device: Any = None
    sees_numpy = False
    for argument in args:
        if hasattr(argument, "data_ptr"):
            device = argument.device
            break
        sees_numpy = sees_numpy or hasattr(argument, "__array_interface__")
    if device is None and sees_numpy:
        return _numpy_empty
    try:
        import torch  # the outputs are PyTorch tensors, where it is installed
    except ImportError:
        return _numpy_empty
    chosen = place if device is None else device
    return lambda shape, kind: torch.empty(shape, dtype=_torch_dtype(kind), device=chosen)


@functools.lru_cache(maxsize=64)
def _torch_dtype(kind: dtype) -> Any:
    return kind.as_torch()


def _numpy_empty(shape: tuple[int, ...], kind: dtype) -> Any:
    import numpy

    stored = numpy.dtype("int8") if kind.elements_per_byte > 1 else kind.as_numpy()
    return numpy.empty(shape, stored)
