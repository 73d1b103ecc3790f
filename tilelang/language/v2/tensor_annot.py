"""Annotations of tensor arguments: `T.Tensor[[M, T.dyn], "float16"]` and its relatives.

An annotation says which extents, strides and types are fixed, which specialise the kernel and which
stay variable; it plans the argument's key (`tensor_key`) and makes the IR buffer. Called with a
shape, it is the constructor of such a buffer. `annot` names the instances that users write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

from tilelang.errors import ArgumentError, ArgumentTypeError, ShapeError, caller_span
from tilelang.ir.buffer import Buffer as IRBuffer
from tilelang.ir.buffer import Extent, extent_of, format_shape, row_major_strides
from tilelang.ir.dtype import dtype as DType
from tilelang.ir.expr import INT32, Expr, IntImm, Operand
from tilelang.ir.record import record
from tilelang.language.v2.arguments import MISSING, is_pointer, read_tensor
from tilelang.language.v2.scalar_annot import (
    UNNAMED,
    Annot,
    ArgVarTable,
    TIRAnnot,
    Value,
    element_type,
    optional_element_type,
    ptr,
    register_parameter,
)
from tilelang.language.v2.tensor_key import (
    AxesPlan,
    KeyParser,
    TensorPlan,
    check_extent,
    check_rank,
    make_parser,
)

Scope = Literal["global", "shared.dyn", "local", "local.fragment"]


@record
class BufferAnnot(Annot):
    """A tensor argument; `None` leaves shape, strides or dtype to the call, which specialises them.

    Called with a shape, an annotation makes a concrete IR buffer; subscripted, another annotation.
    """

    shape: tuple[Value, ...] | None = None
    strides: tuple[Value, ...] | None = None
    dtype: DType | None = None

    def is_kernel_arg(self) -> bool:
        return True

    @property
    def scope(self) -> Scope:
        """Where the buffer lives."""
        return "global"

    @property
    def is_contiguous(self) -> bool:
        """Whether strides that are not given are those of a dense row-major tensor."""
        return False

    def __call__(
        self,
        shape: Any,
        dtype: Any = "float32",
        data: Any = None,
        strides: Any = None,
        elem_offset: Any = None,
        scope: str | None = None,
        align: int = 0,
        offset_factor: int = 0,
        buffer_type: str = "",
        axis_separators: Any = None,
    ) -> IRBuffer:
        """An IR buffer. `align` and `offset_factor` are promises that nothing here relies on."""
        _reject_layout_requests(buffer_type, axis_separators)
        extents = as_tuple(shape)
        _check_extents(extents)
        return IRBuffer(
            UNNAMED if data is None else data.name,
            extents,
            element_type(dtype),
            scope or self.scope,
            strides=None if strides is None else as_tuple(strides),
            data=data,
            elem_offset=0 if elem_offset is None else elem_offset,
            span=caller_span(),
        )

    def __getitem__(self, params: Any) -> BufferAnnot:
        """`[shape, dtype]`: the annotation of such a tensor; float32 when there is no dtype."""
        shape, kind = _split_dtype(params)
        return type(self)(_dimensions(shape), None, kind)

    def with_name(self, name: str) -> BufferAnnot:
        return replace(
            self,
            shape=_with_names(self.shape, f"{name}_shape"),
            strides=_with_names(self.strides, f"{name}_stride"),
        )

    def plan(self) -> TensorPlan:
        """What of an argument belongs to the key."""
        return TensorPlan(_axes_plan(self.shape), self._strides_plan(), self.dtype)

    def _strides_plan(self) -> AxesPlan:
        if self.strides is not None:
            return _axes_plan(self.strides)
        if self.shape is None:
            return AxesPlan()
        return AxesPlan(len(self.shape), () if self.is_contiguous else self._keyed_strides())

    def _keyed_strides(self) -> tuple[int, ...]:
        """Axes with only static ones to their right: other strides change with a dynamic extent."""
        assert self.shape is not None, "the strides of an unknown shape are all in the key"
        dynamic = [axis for axis, extent in enumerate(self.shape) if extent.kind == "dynamic"]
        return tuple(range(max(dynamic, default=0), len(self.shape)))

    def get_key_parser(self) -> KeyParser:
        return make_parser(self.plan())

    def parse_key(self, target: Any) -> tuple[Any, ...]:
        """The key of the tensor `target`."""
        return self.get_key_parser()("tensor", target)

    @staticmethod
    def match_shape(
        shape: Sequence[Value] | None, target_shape: Sequence[Extent], vt: ArgVarTable
    ) -> tuple[Extent, ...]:
        """The IR extents of an argument of extents `target_shape` annotated `shape`.

        Raises:
            ShapeError: for another rank, or a known extent that differs.
        """
        return match_extents(shape, tuple(target_shape), vt, "tensor", "extent")

    def create_prim_func_arg(self, name: str, value: Any, vt: ArgVarTable) -> IRBuffer:
        if self.plan().is_known and (value is None or value is MISSING or is_pointer(value)):
            strides = None
            shape, kind = match_extents(self.shape, None, vt, name, "extent"), self.dtype
            if self.strides is not None:
                strides = match_extents(self.strides, None, vt, name, "stride")
        else:
            facts = read_tensor(name, value, self.dtype)
            shape, kind = match_extents(self.shape, facts.shape, vt, name, "extent"), facts.dtype
            strides = self._match_strides(facts.strides, vt, name)
        if strides is not None and strides == row_major_strides(shape):
            strides = None
        buffer = IRBuffer(name, shape, kind, self.scope, strides=strides, span=caller_span())
        register_parameter(buffer)
        return buffer

    def _match_strides(
        self, actual: tuple[Extent, ...], vt: ArgVarTable, name: str
    ) -> tuple[Extent, ...] | None:
        if self.strides is not None:
            return match_extents(self.strides, actual, vt, name, "stride")
        if self.is_contiguous and self.shape is not None:
            return None
        if self.shape is None:
            return actual
        keyed = self._keyed_strides()
        return tuple(
            step if axis in keyed else vt.get_or_create_var(f"{name}_stride_{axis}", INT32)
            for axis, step in enumerate(actual)
        )

    def promote(self) -> TIRAnnot | None:
        shape, strides = _known_extents(self.shape), _known_extents(self.strides)
        if shape is None or self.dtype is None or (strides is None and not self.is_contiguous):
            return None
        return TIRAnnot(
            IRBuffer(UNNAMED, shape, self.dtype, self.scope, strides=strides, span=caller_span())
        )

    def __repr__(self) -> str:
        parts = [
            "Any" if entries is None else format_shape(entries)
            for entries in ((self.shape, self.strides) if self.strides else (self.shape,))
        ]
        return f"{type(self).__name__}[{', '.join(parts)}, {self.dtype or 'Any'}]"


class TensorAnnot(BufferAnnot):
    """A dense row-major tensor; a bare `T.Tensor` takes any strides and specialises them."""

    @property
    def is_contiguous(self) -> bool:
        return self.shape is not None and self.strides is None


class StridedTensorAnnot(BufferAnnot):
    """A tensor in global memory with strides of its own."""

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        shape: Any,
        strides: Any,
        dtype: Any = "float32",
        data: Any = None,
        elem_offset: Any = None,
        scope: str | None = None,
        align: int = 0,
        offset_factor: int = 0,
        buffer_type: str = "",
        axis_separators: Any = None,
    ) -> IRBuffer:
        return super().__call__(
            shape, dtype, data, strides, elem_offset, scope,
            align, offset_factor, buffer_type, axis_separators,
        )  # fmt: skip

    def __getitem__(self, params: Any) -> StridedTensorAnnot:
        """`[shape, strides, dtype]`; float32 when there is no dtype."""
        if not isinstance(params, tuple) or len(params) not in (2, 3):
            raise ArgumentError(
                f"expected T.StridedTensor[shape, strides, dtype], got {params!r} in the brackets"
            )
        shape, strides = _dimensions(params[0]), _dimensions(params[1], "stride")
        if len(shape) != len(strides):
            raise ShapeError(f"{len(strides)} strides for a shape of rank {len(shape)}")
        kind = optional_element_type(params[2]) if len(params) == 3 else DType("float32")
        return StridedTensorAnnot(shape, strides, kind)


class FragmentBufferAnnot(BufferAnnot):
    """A macro parameter that lives in the registers of a block."""

    @property
    def scope(self) -> Scope:
        return "local.fragment"


class SharedBufferAnnot(BufferAnnot):
    """A macro parameter that lives in shared memory."""

    @property
    def scope(self) -> Scope:
        return "shared.dyn"


class LocalBufferAnnot(BufferAnnot):
    """A macro parameter that lives in the registers of one thread."""

    @property
    def scope(self) -> Scope:
        return "local"


# -- what the subscripts and calls mean ---------------------------------------------------------


def as_tuple(value: Any) -> tuple[Any, ...]:
    """A shape as written: one extent alone, or a sequence of them."""
    if isinstance(value, (str, Operand)) or not isinstance(value, Iterable):
        return (value,)
    return tuple(value)


def _split_dtype(params: Any) -> tuple[Any, DType | None]:
    """Shape and dtype of `[shape, dtype]`, `[shape]`, `[(m, n), dtype]` or `[m, n, k]`."""
    if isinstance(params, tuple) and len(params) == 2 and _is_dtype_like(params[1]):
        return params[0], optional_element_type(params[1])
    if isinstance(params, tuple) and params and isinstance(params[0], (list, tuple)):
        raise ArgumentTypeError(f"expected [shape, dtype], got {params!r}")
    return params, DType("float32")


def _is_dtype_like(value: Any) -> bool:
    if value is None or value is Any or value is ptr or isinstance(value, (DType, str, TypeVar)):
        return True
    if isinstance(value, (int, Operand, Value, list, tuple)):
        return False
    try:
        DType(value)
    except TypeError:
        return False
    return True


def _dimensions(shape: Any, what: str = "extent") -> tuple[Value, ...]:
    dims = tuple(Value.from_value(dim) for dim in as_tuple(shape))
    for axis, dim in enumerate(dims):
        is_integer = dim.dtype is None or dim.dtype.is_int
        if not is_integer or isinstance(dim.value, float):
            raise ShapeError(
                f"{what} of axis {axis}: expected an integer, got {dim.dtype} {dim!r}",
                hint='a dimension known at run time is T.dyn["name"] or T.dynamic("name")',
            )
    if what == "extent":
        _check_extents(tuple(dim.value for dim in dims))
    return dims


def _check_extents(extents: Sequence[Any]) -> None:
    for axis, extent in enumerate(extents):
        number = extent.value if isinstance(extent, IntImm) else extent
        if isinstance(number, int) and number < 0:
            raise ShapeError(f"extent of axis {axis} is negative: {number}")
        if isinstance(number, Expr) and not number.dtype.is_int:
            raise ShapeError(
                f"extent of axis {axis}: expected an integer, got {number.dtype} `{number}`"
            )


def _reject_layout_requests(buffer_type: str, axis_separators: Any) -> None:
    if buffer_type not in ("", "default"):
        raise ArgumentError(f"buffer_type: expected '' or 'default', got {buffer_type!r}")
    if axis_separators:
        raise ArgumentError("axis_separators: buffers have one flat address here, expected none")


def _with_names(dims: tuple[Value, ...] | None, prefix: str) -> tuple[Value, ...] | None:
    if dims is None:
        return None
    return tuple(dim.with_name(f"{prefix}_{axis}") for axis, dim in enumerate(dims))


def _axes_plan(dims: tuple[Value, ...] | None) -> AxesPlan:
    if dims is None:
        return AxesPlan()
    static = tuple(axis for axis, dim in enumerate(dims) if dim.kind == "static")
    known = tuple((axis, dims[axis].value) for axis in static if dims[axis].value is not None)
    return AxesPlan(len(dims), static, known)


def _known_extents(dims: tuple[Value, ...] | None) -> tuple[Extent, ...] | None:
    if dims is None or any(dim.value is None for dim in dims):
        return None
    return tuple(extent_of(dim.value) for dim in dims)


def match_extents(
    dims: Sequence[Value] | None,
    actual: tuple[Extent, ...] | None,
    vt: ArgVarTable,
    name: str,
    what: str,
) -> tuple[Extent, ...]:
    """IR extents (or strides) of the argument `name`; without `actual` the annotation says all."""
    if dims is None:
        assert actual is not None, "an annotation that leaves everything open needs an argument"
        return actual
    if actual is not None:
        check_rank(name, len(dims), actual)
    made: list[Extent] = []
    for axis, dim in enumerate(dims):
        extent = None if actual is None else actual[axis]
        if actual is not None and dim.kind == "static" and dim.value is not None:
            check_extent(name, what, axis, dim.value, actual)
        if dim.kind == "static" and isinstance(extent, Expr):
            raise ArgumentTypeError(
                f"argument `{name}`: {what} of axis {axis} is `{extent}`, but the kernel is "
                "specialised for it: expected an integer"
            )
        value = dim.create_prim_func_arg(name, extent, vt, create_arg=False)
        if dim.kind == "static" and dim.name and dim.value is None:
            vt.record_extent(dim.name, value, name)
        made.append(extent_of(value))
    return tuple(made)
