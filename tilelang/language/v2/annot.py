"""Annotations of kernel arguments: what a caller passes, what a kernel is specialised for.

Each parameter of a kernel has an annotation with three duties: say whether the value is passed when
the kernel is launched, turn the value into its part of the call key, and make the IR parameter.
Users write them (`T.Tensor[[M, 64], "float16"]`, `T.int32`, `T.ptr`, plain Python types).
`FuncAnnot` holds those of one function for the JIT and the tracer. Nothing is compiled or run here.

The key says everything that may change the generated kernel and nothing else: static extents and
strides, dtypes where the annotation leaves them open, and every compile-time constant, defaulted
ones included. What is left (a dynamic extent, a declared dtype) is checked when the kernel runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tilelang.errors import ArgumentTypeError, LanguageError
from tilelang.ir.buffer import Buffer as IRBuffer
from tilelang.ir.buffer import Extent
from tilelang.ir.dtype import dtype as DType
from tilelang.ir.expr import Expr, Var
from tilelang.ir.visitor import walk
from tilelang.language.v2.arguments import read_tensor
from tilelang.language.v2.binding import (
    CallKey,
    explain_binding,
    make_key_function,
    make_launch_function,
)
from tilelang.language.v2.scalar_annot import (
    Annot,
    ArgVarTable,
    DTypeAnnot,
    DynAnnot,
    TIRAnnot,
    Value,
    ptr,
    rename,
)
from tilelang.language.v2.tensor_annot import (
    BufferAnnot,
    FragmentBufferAnnot,
    LocalBufferAnnot,
    Scope,
    SharedBufferAnnot,
    StridedTensorAnnot,
    TensorAnnot,
    match_extents,
)
from tilelang.language.v2.tensor_key import KeyParser

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    _Shapes = TypeVarTuple("_Shapes")

__all__ = [
    "Annot", "ArgVarTable", "Buffer", "BufferAnnot", "DTypeAnnot", "DynAnnot", "FragmentBuffer",
    "FragmentBufferAnnot", "FuncAnnot", "LocalBuffer", "LocalBufferAnnot", "Scope", "SharedBuffer",
    "SharedBufferAnnot", "StridedTensor", "StridedTensorAnnot", "TIRAnnot", "Tensor", "TensorAnnot",
    "Value", "dyn", "interpret_annotation", "ptr",
]  # fmt: skip

_Shape = TypeVar("_Shape")
_DType = TypeVar("_DType")


if TYPE_CHECKING:

    class Buffer(Generic[_Shape, _DType]):
        """What a type checker sees of `A: T.Buffer((M, N), T.float16)` inside a kernel."""

        def __new__(
            cls,
            shape: tuple[Unpack[_Shapes]],
            dtype: Any = "float32",
            data: Any = None,
            strides: Any = None,
            elem_offset: Any = None,
            scope: str | None = None,
            align: int = 0,
            offset_factor: int = 0,
            buffer_type: str = "",
            axis_separators: Any = None,
        ) -> Buffer[tuple[Unpack[_Shapes]], Any]: ...

        @property
        def shape(self) -> tuple[Any, ...]: ...

        @property
        def dtype(self) -> DType: ...

        @property
        def strides(self) -> tuple[Any, ...]: ...

        def scope(self) -> Scope: ...

        def __getitem__(self, index: Any) -> Any: ...

        def __setitem__(self, index: Any, value: Any) -> None: ...

    class Tensor(Buffer[_Shape, _DType]): ...

    class StridedTensor(Buffer[_Shape, _DType]): ...

    class FragmentBuffer(Buffer[_Shape, _DType]): ...

    class SharedBuffer(Buffer[_Shape, _DType]): ...

    class LocalBuffer(Buffer[_Shape, _DType]): ...

    dyn: Any
else:
    Buffer = BufferAnnot()
    Tensor = TensorAnnot()
    StridedTensor = StridedTensorAnnot()
    FragmentBuffer = FragmentBufferAnnot()
    SharedBuffer = SharedBufferAnnot()
    LocalBuffer = LocalBufferAnnot()
    dyn = DynAnnot()


@dataclass
class FuncAnnot:
    """The annotations of one function.

    Attributes:
        sig: its signature, defaults included.
        arg_names: parameters in order.
        annots: annotation of each parameter.
        arg_parser: key parser of each parameter.
        ker_arg_names: parameters that are passed when the kernel is launched, in order.
        key_function: what `parse_key` calls. A launch path may call it directly, and `parse_key`
            once more after a `TypeError`, for its wording.
        launch_function: the same for `convert_to_kernel_args`.
    """

    sig: inspect.Signature
    arg_names: list[str]
    annots: dict[str, Annot]
    arg_parser: dict[str, KeyParser]
    ker_arg_names: list[str]
    key_function: Callable[..., CallKey] = field(init=False, repr=False, compare=False)
    launch_function: Callable[..., tuple[Any, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.key_function = make_key_function(self.sig, self.arg_parser)
        self.launch_function = make_launch_function(self.sig, self.ker_arg_names)

    @classmethod
    def from_sig_annots(cls, sig: inspect.Signature, func_annots: Mapping[str, Any]) -> FuncAnnot:
        """What the annotations `func_annots` (name -> object) of a function with `sig` mean.

        Raises:
            ArgumentTypeError: for a positional-only parameter.
        """
        annots: dict[str, Annot] = {}
        for name, parameter in sig.parameters.items():
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                raise ArgumentTypeError(f"parameter `{name}` is positional-only; kernels have none")
            is_variadic = parameter.kind in (
                inspect.Parameter.VAR_POSITIONAL,
                inspect.Parameter.VAR_KEYWORD,
            )
            given = None if is_variadic else func_annots.get(name)
            annots[name] = interpret_annotation(name, given)
        return cls._from_annots(sig, _separate(annots))

    @classmethod
    def _from_annots(cls, sig: inspect.Signature, annots: dict[str, Annot]) -> FuncAnnot:
        parsers = {name: annot.get_key_parser() for name, annot in annots.items()}
        launched = [name for name, annot in annots.items() if annot.is_kernel_arg()]
        return cls(sig, list(annots), annots, parsers, launched)

    def parse_key(self, *args: Any, **kws: Any) -> CallKey:
        """The key of a call: `((argument name, key), ...)` sorted by name.

        Spelling does not matter: a positional, a keyword and a defaulted argument of one value give
        the same key. Arguments that are known without a value may be left out.

        Raises:
            ArgumentTypeError: for a call that does not fit the signature (an unknown or missing
                argument is a `KeyError` too), or an argument of another kind.
            ShapeError, DTypeError: for a tensor that does not fit its annotation.
        """
        try:
            return self.key_function(*args, **kws)
        except TypeError:
            mistake = explain_binding(self.sig, args, kws)
            if mistake is None:
                raise
            raise mistake from None

    def convert_to_kernel_args(self, *args: Any, **kws: Any) -> tuple[Any, ...]:
        """The values that are passed to the kernel, in parameter order.

        Raises:
            ArgumentTypeError: as `parse_key` does.
        """
        try:
            return self.launch_function(*args, **kws)
        except TypeError:
            mistake = explain_binding(self.sig, args, kws)
            if mistake is None:
                raise
            raise mistake from None

    def create_argument(self, name: str, value: Any, vt: ArgVarTable) -> Any:
        """What the traced function receives for the argument `name`."""
        return self.annots[name].create_prim_func_arg(name, value, vt)

    def is_all_static(self) -> bool:
        """Whether no argument is needed to build the kernel."""
        return all(isinstance(annot, TIRAnnot) for annot in self.annots.values())

    def get_all_static_args(self) -> dict[str, IRBuffer | Var]:
        """The IR parameter of each argument that is completely known."""
        return {n: annot.data for n, annot in self.annots.items() if isinstance(annot, TIRAnnot)}

    def get_compile_time_unknown_args(self) -> list[str]:
        """Names of the arguments that a call must bring before the kernel can be built."""
        return [n for n, annot in self.annots.items() if not isinstance(annot, TIRAnnot)]

    # -- dimensions read off the arguments and specialised (T.const) ------------------------------

    def specialise(self, constants: Iterable[Var]) -> FuncAnnot:
        """The same function, specialised for the dimensions `constants` of its tensors.

        Raises:
            LanguageError: when one of them is no extent or stride of any tensor by itself.
        """
        wanted = tuple(constants)
        annots = {name: _specialised(annot, wanted) for name, annot in self.annots.items()}
        direct = {dim.name for annot in annots.values() for dim in _open_dimensions(annot)}
        for constant in wanted:
            if constant.name not in direct:
                raise _not_direct(constant, self.annots)
        return self._from_annots(self.sig, annots)

    def constant_values(self, *args: Any, **kws: Any) -> dict[str, int]:
        """Value of each named static dimension in a call's tensors; absent ones bring none.

        Raises:
            ShapeError: when two tensors disagree.
        """
        given = self.sig.bind_partial(*args, **kws).arguments
        table = ArgVarTable()
        for name, annot in self.annots.items():
            if name in given and isinstance(annot, BufferAnnot) and _open_dimensions(annot):
                facts = read_tensor(name, given[name], annot.dtype)
                match_extents(annot.shape, facts.shape, table, name, "extent")
                if annot.strides is not None:
                    match_extents(annot.strides, facts.strides, table, name, "stride")
        return {name: value for name, (value, _) in table.static_extents.items()}

    def owner_of(self, dimension: str) -> str:
        """The first argument that brings the named static dimension."""
        for name, annot in self.annots.items():
            if any(dim.name == dimension for dim in _open_dimensions(annot)):
                return name
        raise AssertionError(f"`{dimension}` was checked to be a dimension of some argument")


def interpret_annotation(name: str, given: Any) -> Annot:
    """The meaning of the annotation `given` of the parameter `name`."""
    if given is DType:
        return DTypeAnnot(name)
    if isinstance(given, DType) or _makes_parameter(given):
        given = given()
        if isinstance(given, Var):  # just made, so nobody else knows it by another name
            rename(given, name)
    if isinstance(given, (IRBuffer, Var)):
        given = TIRAnnot(given)
    if not isinstance(given, Annot):
        return Value("static", name)
    return (given.promote() or given).with_name(name)


def _makes_parameter(given: Any) -> bool:
    """Whether an annotation is a function to be asked for the parameter: `T.ptr`, a lambda."""
    return inspect.isroutine(given)


def _separate(annots: dict[str, Annot]) -> dict[str, Annot]:
    """Parameters annotated with one and the same buffer get a buffer each."""
    seen: set[int] = set()
    result: dict[str, Annot] = {}
    for name, annot in annots.items():
        if isinstance(annot, TIRAnnot) and isinstance(annot.data, IRBuffer):
            if id(annot.data) in seen:
                annot = TIRAnnot(_copy_of(annot.data, name))
            seen.add(id(annot.data))
        result[name] = annot
    return result


def _copy_of(buffer: IRBuffer, name: str) -> IRBuffer:
    return IRBuffer(
        name,
        buffer.shape,
        buffer.dtype,
        buffer.scope(),
        strides=buffer.declared_strides,
        elem_offset=buffer.elem_offset,
        span=buffer.span,
    )


def _specialised(annot: Annot, constants: tuple[Var, ...]) -> Annot:
    if not isinstance(annot, TIRAnnot) or not isinstance(annot.data, IRBuffer):
        return annot
    buffer = annot.data
    extents = (*buffer.shape, *(buffer.declared_strides or ()))
    if not any(extent is constant for extent in extents for constant in constants):
        return annot

    def dimension(extent: Extent) -> Value:
        if any(extent is constant for constant in constants):
            assert isinstance(extent, Var), "constants are variables until they are specialised"
            return Value("static", extent.name, extent.dtype)
        return Value.from_value(extent)

    shape = tuple(dimension(extent) for extent in buffer.shape)
    if buffer.declared_strides is None:
        return TensorAnnot(shape, None, buffer.dtype).with_name(buffer.name)
    strides = tuple(dimension(stride) for stride in buffer.declared_strides)
    return StridedTensorAnnot(shape, strides, buffer.dtype).with_name(buffer.name)


def _open_dimensions(annot: Annot) -> list[Value]:
    """Static dimensions whose value a call brings."""
    if not isinstance(annot, BufferAnnot):
        return []
    dims = (*(annot.shape or ()), *(annot.strides or ()))
    return [dim for dim in dims if dim.kind == "static" and dim.value is None]


def _not_direct(constant: Var, annots: Mapping[str, Annot]) -> LanguageError:
    for name, annot in annots.items():
        if not isinstance(annot, TIRAnnot) or not isinstance(annot.data, IRBuffer):
            continue
        for extent in (*annot.data.shape, *(annot.data.declared_strides or ())):
            if isinstance(extent, Expr) and any(node is constant for node in walk(extent)):
                return LanguageError(
                    f"constant `{constant.name}` stands only inside `{extent}` in the shape of "
                    f"`{name}`: it cannot be read off a tensor",
                    annot.data.span,
                    hint=f"use `{constant.name}` alone as an extent or stride of some argument",
                )
    return LanguageError(
        f"constant `{constant.name}` is no extent or stride of any tensor argument",
        constant.span,
        hint="remove it, or annotate an argument with it",
    )
