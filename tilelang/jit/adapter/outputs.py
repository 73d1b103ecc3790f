"""Outputs that a call allocates: their shapes from the other arguments, their library from the inputs.

Used by the adapters; `plan_outputs` looks at the kernel once, `OutputPlan.call` runs at every call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tilelang.arith.evaluate import evaluate
from tilelang.errors import ArgumentError, LanguageError
from tilelang.ir.buffer import Buffer, Extent
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Expr, Var, as_expr
from tilelang.ir.func import PrimFunc
from tilelang.ir.visitor import used_vars

SymbolSource = tuple[int, int, int]  # kind (0 shape, 1 stride, 2 scalar), parameter, axis (-1 for scalars)


def dynamic_symbol_map(func: PrimFunc) -> dict[Var, SymbolSource]:
    """Where the value of each symbol stands in the arguments; scalars first, then shapes, then strides.

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


class OutputPlan:
    """How to allocate the outputs of one kernel.

    Attributes:
        positions: parameters that are outputs, in the order in which they are returned.
    """

    def __init__(self, func: PrimFunc, positions: Sequence[int]) -> None:
        self.func = func
        self.positions = list(positions)
        self.input_positions = [k for k in range(len(func.params)) if k not in self.positions]
        inputs = {position: k for k, position in enumerate(self.input_positions)}
        self.symbols: dict[Var, tuple[int, int, int]] = {
            var: (kind, inputs[position], axis)
            for var, (kind, position, axis) in _input_symbols(func, inputs).items()
        }
        self.buffers = [self._output(position) for position in self.positions]
        self.shapes = [_static_shape(b) for b in self.buffers]

    def _output(self, position: int) -> Buffer:
        parameter = self.func.params[position]
        if not isinstance(parameter, Buffer):
            raise ArgumentError(f"out_idx: parameter {position} `{parameter.name}` of `{self.func.name}` is no tensor")
        for extent in parameter.shape:
            for var in used_vars(as_expr(extent)):
                if var not in self.symbols:
                    raise LanguageError(
                        f"the shape of output `{parameter.name}` needs `{var.name}`, which no argument gives",
                        parameter.span,
                        hint=f"give some argument a dimension, stride or scalar `{var.name}`",
                    )
        return parameter

    def allocate(self, args: Sequence[Any]) -> list[Any]:
        """Fresh outputs for these inputs: PyTorch tensors, or NumPy arrays when all tensors are NumPy's.

        Raises:
            ArgumentError: for an output with a dimension of 0 or less.
        """
        make = _allocator(args)
        values: dict[Var, int] = {}
        outputs = []
        for buffer, static in zip(self.buffers, self.shapes):
            shape = static if static is not None else self._shape(buffer, args, values)
            outputs.append(make(shape, buffer.dtype))
        return outputs

    def _shape(self, buffer: Buffer, args: Sequence[Any], values: dict[Var, int]) -> tuple[int, ...]:
        if not values:
            values.update({var: _symbol_value(args[k], kind, axis) for var, (kind, k, axis) in self.symbols.items() if args[k] is not None})
        extents = tuple(_extent_value(e, values) for e in buffer.shape)
        _check_extents(buffer, extents)
        return _stored_shape(extents, buffer.dtype)


def _input_symbols(func: PrimFunc, inputs: Mapping[int, int]) -> dict[Var, SymbolSource]:
    """As `dynamic_symbol_map`, over the inputs alone."""
    found: dict[Var, SymbolSource] = {}
    for kind in (2, 0, 1):
        for position in inputs:
            parameter = func.params[position]
            if kind == 2 and isinstance(parameter, Var):
                found.setdefault(parameter, (2, position, -1))
            elif kind != 2 and isinstance(parameter, Buffer):
                extents = parameter.shape if kind == 0 else parameter.declared_strides or ()
                for axis, extent in enumerate(extents):
                    if isinstance(extent, Var):
                        found.setdefault(extent, (kind, position, axis))
    return found


def _symbol_value(argument: Any, kind: int, axis: int) -> int:
    if kind == 2:
        return int(argument)
    if kind == 0:
        return int(argument.shape[axis])
    stride = getattr(argument, "stride", None)
    return int(stride(axis)) if callable(stride) else argument.strides[axis] // argument.itemsize


def _extent_value(extent: Extent, values: Mapping[Var, int]) -> int:
    return int(evaluate(extent, values)) if isinstance(extent, Expr) else extent


def _check_extents(buffer: Buffer, extents: Sequence[int]) -> None:
    if any(e <= 0 for e in extents):
        raise ArgumentError(f"output `{buffer.name}` would have shape {list(extents)}; every dimension must be positive")


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


def _allocator(args: Sequence[Any]) -> Callable[[tuple[int, ...], dtype], Any]:
    device: Any = None
    sees_numpy = False
    for argument in args:
        if hasattr(argument, "data_ptr"):
            device = argument.device
            break
        sees_numpy = sees_numpy or hasattr(argument, "__array_interface__")
    if device is None and sees_numpy:
        return _numpy_empty
    import torch  # the outputs are PyTorch tensors

    return lambda shape, kind: torch.empty(shape, dtype=kind.as_torch(), device=device)


def _numpy_empty(shape: tuple[int, ...], kind: dtype) -> Any:
    import numpy

    stored = numpy.dtype("int8") if kind.elements_per_byte > 1 else kind.as_numpy()
    return numpy.empty(shape, stored)
