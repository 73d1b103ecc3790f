"""Annotations of scalars, dtypes and complete IR parameters, and what all annotations share.

`annot` puts these together with those of `tensor_annot`; users know them as `T.dyn`, `T.int32`,
`T.ptr`, `T.dtype` and plain Python types. Registers parameters with the builder that is tracing.
"""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from tilelang.errors import ArgumentError, ArgumentTypeError, DTypeError, ShapeError
from tilelang.ir.buffer import Buffer as IRBuffer
from tilelang.ir.dtype import dtype as DType
from tilelang.ir.expr import INT32, IntImm, Operand, Var
from tilelang.ir.func import Parameter
from tilelang.ir.record import record
from tilelang.language.v2 import dtypes as dt
from tilelang.language.v2.arguments import MISSING, constant_key
from tilelang.language.v2.binding import runtime_key
from tilelang.language.v2.tensor_key import KeyParser

UNNAMED = "tensor"  # name of a buffer until it is known whose parameter it is


@dataclass
class ArgVarTable:
    """The variables of one traced function: a name gives the same variable every time.

    Attributes:
        var_tab: variable of each name.
        tmp_name_idx: number of temporary names given out.
        static_extents: value of each static dimension that has a name of its own, and who gave it.
    """

    var_tab: dict[str, Var] = field(default_factory=dict)
    tmp_name_idx: int = 0
    static_extents: dict[str, tuple[int, str]] = field(default_factory=dict)

    def get_or_create_var(self, name: str | None, dtype: Any) -> Var:
        """The variable `name`, made with `dtype` the first time; an empty name is a temporary."""
        name = name or self.create_tmp_name()
        if name not in self.var_tab:
            self.var_tab[name] = Var(name, DType(dtype))
        return self.var_tab[name]

    def create_tmp_name(self) -> str:
        """`varg_0`, `varg_1`, ..."""
        name = f"varg_{self.tmp_name_idx}"
        self.tmp_name_idx += 1
        return name

    def record_extent(self, name: str, value: int, owner: str) -> None:
        """The dimension `name` is `value` in the argument `owner`; it may not differ elsewhere."""
        known, first = self.static_extents.setdefault(name, (value, owner))
        if known != value:
            raise ShapeError(f"dimension `{name}` is {known} in `{first}` but {value} in `{owner}`")


class Annot(ABC):
    """What the annotation of one kernel argument means."""

    def is_kernel_arg(self) -> bool:
        """Whether the value is passed when the kernel is launched."""
        return False

    @abstractmethod
    def with_name(self, name: str) -> Annot:
        """A copy with `name` wherever there is no name yet."""

    @abstractmethod
    def get_key_parser(self) -> KeyParser:
        """A function `(argument name, value) -> key`, a hashable tuple. It validates the value."""

    @abstractmethod
    def create_prim_func_arg(self, name: str, value: Any, vt: ArgVarTable) -> Any:
        """What the traced function receives: a registered IR parameter, or the value itself."""

    def promote(self) -> TIRAnnot | None:
        """A fixed annotation, when nothing is left to be learnt from a call."""
        return None


@record
class Value(Annot):
    """A scalar argument, or one dimension of a tensor.

    Attributes:
        kind: "static" values are known when the kernel is compiled, "dynamic" ones when it runs.
        value: the number or expression, when the annotation gives it.
        creator: makes the variable of a dynamic value.
    """

    kind: Literal["static", "dynamic"] = "dynamic"
    name: str | None = None
    dtype: DType | None = INT32
    value: Any = None
    creator: Callable[[], Any] | None = None

    def is_kernel_arg(self) -> bool:
        return self.kind == "dynamic"

    @classmethod
    def from_value(cls, value: Any, prefer_name: str | None = None) -> Value:
        """The meaning of `value` written as a dimension or scalar annotation.

        Numbers are known constants; dtypes, variables and expressions are dynamic; type variables,
        `Any`, `None` and types stand for constants that the call brings.

        Raises:
            ArgumentTypeError: for anything else.
        """
        if isinstance(value, Value):
            return value
        if isinstance(value, IntImm):
            value = value.value
        if isinstance(value, float):
            return Value("static", prefer_name, DType("float32"), value)
        if isinstance(value, int):  # bool too
            return Value("static", prefer_name, INT32, int(value))
        if isinstance(value, DType):
            return Value("dynamic", prefer_name, value)
        if isinstance(value, TypeVar):
            return Value("static", value.__name__)
        if isinstance(value, Var):
            return Value("dynamic", value.name, value.dtype, value)
        if isinstance(value, Operand):
            expr = value.as_load()
            return Value("dynamic", prefer_name, expr.dtype, expr)
        if value is None or value is Any or isinstance(value, type) or _is_generic_alias(value):
            return Value("static", prefer_name)
        if hasattr(value, "__index__"):
            return Value("static", prefer_name, INT32, value.__index__())
        raise ArgumentTypeError(
            "expected a number, an expression, a dtype or a type, got "
            f"{type(value).__name__} {value!r}"
        )

    def with_name(self, name: str) -> Value:
        return Value(self.kind, self.name or name, self.dtype, self.value, self.creator)

    def get_key_parser(self) -> KeyParser:
        if self.kind == "dynamic":
            return runtime_key
        if self.value is None:
            return constant_key
        return _known_value_parser(self.value)

    def parse_key(self, target: Any) -> tuple[Any, ...]:
        """The key of the value `target`."""
        return self.get_key_parser()(self.name or "value", target)

    def create_prim_func_arg(
        self, name: str, value: Any, vt: ArgVarTable, create_arg: bool = True
    ) -> Any:
        """The constant, or the variable that stands for it.

        Args:
            create_arg: register the variable as a parameter; false for a dimension.
        """
        if self.kind == "static":
            return self._constant(name, value)
        made = self.value
        if made is None:
            made = self.creator() if self.creator else None
        if made is None:
            made = vt.get_or_create_var(self.name or name, self.dtype)
        if create_arg:
            if not isinstance(made, Var):
                raise ArgumentTypeError(f"argument `{name}`: `{made}` is no variable")
            register_parameter(made)
        return made

    def _constant(self, name: str, value: Any) -> Any:
        if self.value is None:
            constant_key(name, value)
            return value
        if value is not None and value is not MISSING:
            self.get_key_parser()(name, value)
        return self.value

    def __repr__(self) -> str:
        if self.value is not None:
            return str(self.value)
        suffix = "$" if self.kind == "static" else "$dyn"
        return f"{self.name}{suffix}" if self.name else f"$unnamed{suffix}"


def _known_value_parser(expected: Any) -> KeyParser:
    key = (expected,)

    def parse(name: str, value: Any) -> tuple[Any, ...]:
        number = value.value if isinstance(value, IntImm) else value
        if isinstance(number, Operand) or number != expected:
            raise ShapeError(f"argument `{name}`: expected {expected}, got {value}")
        return key

    return parse


def _is_generic_alias(value: Any) -> bool:
    return typing.get_origin(value) is not None


def register_parameter(parameter: Parameter) -> None:
    """Make `parameter` the next one of the function being traced."""
    from tilelang.language.builder import Builder  # the builder is not needed to parse keys

    Builder.current().add_parameter(parameter)


class DynAnnot(Value):
    """A number known when the kernel runs: `T.dyn` a dimension, `T.dyn["m"]` a shared one.

    The subscript makes dimensions and takes int32 by default; the call makes a scalar variable, and
    float32 is its default. A dimension must be an integer, so the two cannot be mistaken.
    """

    def __call__(self, dtype: Any = dt.float32, name: str | None = None) -> Var:
        """A new IR variable."""
        return Var(name or "v", DType(dtype))

    def __getitem__(self, params: Any) -> Value:
        """`["m"]`, `[dtype]` or `[dtype, "m"]`."""
        items = params if isinstance(params, tuple) else (params,)
        if len(items) == 1 and isinstance(items[0], str) and not isinstance(items[0], DType):
            return Value("dynamic", str(items[0]), INT32)
        kind, name, *more = (*items, None) if len(items) == 1 else items
        if more or not isinstance(name, str | None):
            raise ArgumentTypeError(f"expected T.dyn[name] or T.dyn[dtype, name], got {params!r}")
        return Value("dynamic", name, element_type(kind))


@record
class DTypeAnnot(Annot):
    """A compile-time dtype in any spelling, for parameters annotated with the class `T.dtype`."""

    name: str | None = None

    def is_kernel_arg(self) -> bool:
        return False

    def with_name(self, name: str) -> DTypeAnnot:
        return DTypeAnnot(self.name or name)

    def get_key_parser(self) -> KeyParser:
        return lambda name, value: (_dtype_argument(name, value),)

    def create_prim_func_arg(self, name: str, value: Any, vt: ArgVarTable) -> DType:
        return _dtype_argument(name, value)

    def __repr__(self) -> str:
        return f"{self.name}$dtype"


def _dtype_argument(name: str, value: Any) -> DType:
    if value is MISSING:
        constant_key(name, value)
    try:
        return DType(value)
    except TypeError as error:
        raise DTypeError(f"argument `{name}`: {error}") from None


@record
class TIRAnnot(Annot):
    """A parameter that is completely known: an IR buffer, scalar variable or pointer."""

    data: IRBuffer | Var

    def is_kernel_arg(self) -> bool:
        return True

    def get_key_parser(self) -> KeyParser:
        return runtime_key

    def create_prim_func_arg(self, name: str, value: Any, vt: ArgVarTable) -> IRBuffer | Var:
        register_parameter(self.data)
        return self.data

    def with_name(self, name: str) -> TIRAnnot:
        """Name an unnamed buffer; variables keep their name, as shapes may refer to them."""
        if isinstance(self.data, IRBuffer) and self.data.name == UNNAMED:
            rename(self.data, name)
        return self

    def __repr__(self) -> str:
        return repr(self.data)


def rename(parameter: Parameter, name: str) -> None:
    """Give a parameter that no function uses yet its name."""
    parameter.name = name
    if isinstance(parameter, IRBuffer):
        parameter.data.name = name


def element_type(value: Any) -> DType:
    """The dtype written as `value`; `T.ptr` stands for a table of addresses.

    Raises:
        DTypeError: for one that there is not.
    """
    try:
        return DType("int64") if value is ptr else DType(value)
    except TypeError as error:
        raise DTypeError(str(error)) from None


def optional_element_type(value: Any) -> DType | None:
    """The same, where `Any`, `None` and type variables leave the type open."""
    is_open = value is None or value is Any or isinstance(value, TypeVar)
    return None if is_open else element_type(value)


def ptr(dtype: Any = None, storage_scope: str = "global") -> Var:
    """A pointer parameter or placeholder; `T.make_tensor` gives the memory behind it a shape.

    Args:
        dtype: element type pointed to, for the reader; it is checked and not recorded.
        storage_scope: where the pointer leads.
    """
    if dtype is not None:
        DType(dtype)
    if storage_scope != "global":
        raise ArgumentError(f"a kernel argument points to global memory, not {storage_scope!r}")
    return DType("handle")()
