"""Arguments of a call -> values for ctypes: looked at, checked, converted.

In: a function's parameters, from `cython.py`, once; then the arguments of each call. Out: the
values for the library's `call`, or an error that names the argument, what was expected and what
came. Nothing is converted before everything is checked. Where symbols are read is
`host_symbols`' plan.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tilelang.arith.evaluate import evaluate
from tilelang.codegen.c import scalar_type
from tilelang.codegen.host_c import HOST, Residence
from tilelang.codegen.host_print import expected_text
from tilelang.codegen.host_symbols import (
    Binding,
    Site,
    SymbolPlan,
    plan_symbols,
    storage_of,
    touched_pointers,
)
from tilelang.errors import ArgumentError, ArgumentTypeError
from tilelang.ir.buffer import Buffer, Extent
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Expr, Var
from tilelang.ir.func import PrimFunc
from tilelang.ir.visitor import used_vars
from tilelang.jit.adapter.base import wrong_count

C_TYPES: dict[str, type[Any]] = {
    "_Bool": ctypes.c_bool,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "void *": ctypes.c_void_p,
    **{f"{u}int{n}_t": getattr(ctypes, f"c_{u}int{n}") for u in ("", "u") for n in (8, 16, 32, 64)},
}


@dataclass(frozen=True, slots=True)
class TensorView:
    """What a tensor argument says of itself; strides are in elements.

    `kind` is the DLPack (code, bits, lanes) of its elements, `None` for one without.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    kind: tuple[int, int, int] | None
    kind_name: str
    device: str
    is_contiguous: bool
    fault: str | None = None  # why the memory cannot be used as it is

    def text(self, show_cpu: bool) -> str:
        """`float32[4, 6] on cuda:0`."""
        place = f" on {self.device}" if self.device != "cpu" or show_cpu else ""
        return f"{self.kind_name}[{', '.join(map(str, self.shape))}]{place}"

    @property
    def device_kind(self) -> str:
        """`cpu`, `cuda`."""
        return self.device.partition(":")[0]


_kinds: dict[Any, tuple[tuple[int, int, int] | None, str]] = {}


def _kind_of(given: Any) -> tuple[tuple[int, int, int] | None, str]:
    """(DLPack triple, name) of an element type of PyTorch or NumPy."""
    found = _kinds.get(given)
    if found is None:
        name = str(given).removeprefix("torch.")
        try:
            kind = dtype(given)
            found = ((kind.element.type_code, kind.bits, kind.lanes), str(kind))
        except TypeError:
            found = (None, name)
        _kinds[given] = found
    return found


def view_of(value: Any) -> TensorView | None:
    """`value` as a tensor of PyTorch or NumPy; `None` when it is neither."""
    if hasattr(value, "data_ptr"):
        kind, name = _kind_of(value.dtype)
        device = value.device
        layout = str(getattr(value, "layout", ""))
        if layout.startswith("torch.sparse") or layout == "torch._mkldnn":
            return TensorView(0, tuple(value.shape), (), kind, name, layout, False)
        place = device.type if device.index is None else f"{device.type}:{device.index}"
        return TensorView(
            value.data_ptr(),
            tuple(value.shape),
            tuple(value.stride()),
            kind,
            name,
            place,
            value.is_contiguous(),
        )
    if not hasattr(value, "__array_interface__"):
        return None
    size = value.itemsize or 1
    fault = None
    if not value.flags.writeable:
        fault = "is read-only; pass a copy of it"
    elif not value.flags.aligned or any(s % size for s in value.strides):
        fault = "is not aligned to its elements"
    kind, name = _kind_of(value.dtype)
    strides = tuple(s // size for s in value.strides)
    contiguous = value.flags.c_contiguous
    return TensorView(value.ctypes.data, value.shape, strides, kind, name, "cpu", contiguous, fault)


_Fast: TypeAlias = (
    "tuple[tuple[int, ...], tuple[tuple[int, int, int], ...]]"  # shape, element types
)


def _fits(tensor: Any, fast: _Fast) -> bool:
    """Whether a PyTorch tensor is a dense one on the host of that shape and type."""
    shape, kinds = fast
    return (
        tensor.shape == shape
        and _kind_of(tensor.dtype)[0] in kinds
        and tensor.is_contiguous()
        and tensor.device.type == "cpu"
    )


class Arguments:
    """Checks and converts the arguments of one function.

    Attributes:
        argtypes: ctypes type of each value: parameters in order, then the symbols.
    """

    def __init__(self, func: PrimFunc, residence: Residence = HOST) -> None:
        self.func = func
        self.residence = residence
        self.is_host = residence is HOST
        self.plan: SymbolPlan = plan_symbols(func)
        self.params = list(func.params)
        extents = [e for b in func.buffer_params for e in (*b.shape, *(b.declared_strides or ()))]
        self.has_symbols = any(isinstance(e, Expr) for e in extents)
        self.needed = touched_pointers(func)
        self.positions = {p: k for k, p in enumerate(self.params) if isinstance(p, Buffer)}
        self.readers: list[Callable[[int, Any], Any]] = [
            self._read_tensor if isinstance(p, Buffer) else self._reader(p) for p in self.params
        ]
        self.kinds = {k: storage_of(p.dtype).dtypes for p, k in self.positions.items()}
        self.fast = [self._fast_facts(k, p) for k, p in enumerate(self.params)]
        self.tensor_positions = [k for k, p in enumerate(self.params) if isinstance(p, Buffer)]
        self.checks: tuple[Callable[[int, TensorView], None], ...] = (
            self._check_device, self._check_kind, self._check_shape, self._check_strides,
            self._check_contiguity, self._check_alignment,
        )  # fmt: skip
        kinds = [_c_type(p) for p in self.params] + [_c_type(v) for v in self.plan.symbols]
        self.argtypes = kinds

    def convert(self, args: Sequence[Any], skip_tensor_validation: bool = False) -> list[Any]:
        """Values for the library: addresses, numbers, then the symbols.

        Args:
            args: one per parameter, outputs included.
            skip_tensor_validation: take tensors as they are.

        Raises:
            ArgumentError: for a wrong count, or a tensor or number that does not fit.
            ArgumentTypeError: for an argument of the wrong kind.
        """
        if len(args) != len(self.params):
            raise wrong_count(self.func, range(len(self.params)), len(args))
        read = [reader(k, value) for k, (reader, value) in enumerate(zip(self.readers, args))]
        if not skip_tensor_validation:
            self._check_one_device(read)
            for check in self.checks:
                for position in self.tensor_positions:
                    view = read[position]
                    if isinstance(view, TensorView):
                        check(position, view)
        values = self._symbols(read) if self.has_symbols else {}
        if self.has_symbols and not skip_tensor_validation:
            self._check_extents(read, values)
        out = [v.address if isinstance(v, TensorView) else v for v in read]
        out += [values[v] for v in self.plan.symbols]
        return out

    def _fast_facts(self, position: int, param: Buffer | Var) -> _Fast | None:
        """What a tensor must be to need no further look; `None` where symbols have to be found."""
        if not self.is_host or self.has_symbols:
            return None
        if not isinstance(param, Buffer) or param.declared_strides is not None:
            return None
        shape = tuple(
            self._stored(param, axis, False, e)
            for axis, e in enumerate(param.shape)
            if isinstance(e, int)
        )
        return shape, self.kinds[position]

    # -- reading ----------------------------------------------------------------------------------

    def _fail(self, position: int, what: str) -> ArgumentError:
        param = self.params[position]
        return ArgumentError(f"{self.func.name}(): argument {position + 1} `{param.name}`: {what}")

    def _wrong_kind(self, position: int, value: Any) -> ArgumentTypeError:
        param = self.params[position]
        came = "None" if value is None else type(value).__name__
        where = f"{self.func.name}(): argument {position + 1} `{param.name}`"
        return ArgumentTypeError(f"{where}: expected {self._expected(position)}, got {came}")

    def _read_tensor(self, position: int, value: Any) -> Any:
        fast = self.fast[position]
        if fast is not None and hasattr(value, "data_ptr") and _fits(value, fast):
            return value.data_ptr()
        view = view_of(value)
        if view is not None:
            return view
        if value is None and self.params[position] in self.plan.optional:
            return 0
        raise self._wrong_kind(position, value)

    def _shown(self, view: TensorView) -> str:
        return view.text(not self.is_host)

    def _reader(self, var: Var) -> Callable[[int, Any], Any]:
        kind = var.dtype
        if kind.kind == "handle":
            return self._read_pointer
        if kind.is_float:
            return self._read_float
        return self._read_bool if kind.is_bool else self._read_integer

    def _read_pointer(self, position: int, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if value is None and self.params[position] not in self.needed:
            return 0
        view = view_of(value)
        if view is None:
            raise self._wrong_kind(position, value)
        if view.device_kind != self.residence.name:
            wanted = f"expected a tensor on {self.residence.name}"
            raise self._fail(position, f"{wanted}, got {self._shown(view)}")
        return view.address

    def _read_float(self, position: int, value: Any) -> float:
        if isinstance(value, str) or not hasattr(value, "__float__"):
            raise self._wrong_kind(position, value)
        return float(value)

    def _read_bool(self, position: int, value: Any) -> bool:
        if value is None or not hasattr(value, "__bool__") or isinstance(value, str):
            raise self._wrong_kind(position, value)
        return bool(value)

    def _read_integer(self, position: int, value: Any) -> int:
        if not hasattr(value, "__index__"):
            raise self._wrong_kind(position, value)
        try:
            number = value.__index__()
        except TypeError:  # a tensor of floats, or of several elements
            raise self._wrong_kind(position, value) from None
        kind = self.params[position].dtype
        low, high = kind.min_value(), kind.max_value()
        if not low <= number <= high:
            raise self._fail(position, f"expected {kind}, {low} to {high}, got {number}")
        return number

    def _check_one_device(self, read: Sequence[Any]) -> None:
        if not self.residence.passes_device:
            return
        first: TensorView | None = None
        for position in self.tensor_positions:
            view = read[position]
            if not isinstance(view, TensorView) or view.device_kind != self.residence.name:
                continue
            first = first or view
            if view.device != first.device:
                raise self._wrong(position, view, f"; the tensors before it are on {first.device}")

    # -- checks, in the order in which they are made ----------------------------------------------

    def _wrong(self, position: int, view: TensorView, reason: str = "") -> ArgumentError:
        return self._fail(
            position, f"expected {self._expected(position)}, got {self._shown(view)}{reason}"
        )

    def _expected(self, position: int) -> str:
        return expected_text(self.params[position], self.residence.name)

    def _check_device(self, position: int, view: TensorView) -> None:
        if view.device_kind != self.residence.name:
            raise self._wrong(position, view)

    def _check_alignment(self, position: int, view: TensorView) -> None:
        if view.address % self.residence.alignment:
            raise self._fail(
                position,
                f"expected {self._expected(position)} at an address divisible by "
                f"{self.residence.alignment}, got address {view.address:#x}",
            )

    def _check_kind(self, position: int, view: TensorView) -> None:
        if view.kind not in self.kinds[position]:
            raise self._wrong(position, view)

    def _check_shape(self, position: int, view: TensorView) -> None:
        buffer = self._buffer(position)
        if len(view.shape) != buffer.ndim:
            raise self._wrong(position, view)
        for axis, extent in enumerate(buffer.shape):
            if (
                isinstance(extent, int)
                and self._stored(buffer, axis, False, extent) != view.shape[axis]
            ):
                raise self._wrong(position, view)

    def _check_strides(self, position: int, view: TensorView) -> None:
        buffer = self._buffer(position)
        for axis, stride in enumerate(buffer.declared_strides or ()):
            if not isinstance(stride, int) or view.shape[axis] == 1:
                continue
            if self._stored(buffer, axis, True, stride) != view.strides[axis]:
                raise self._wrong(
                    position, view, f" with strides {list(view.strides)}, not {_listed(buffer)}"
                )

    def _check_contiguity(self, position: int, view: TensorView) -> None:
        if self._buffer(position).declared_strides is None and not view.is_contiguous:
            raise self._wrong(
                position, view, f" with strides {list(view.strides)}, which is not contiguous"
            )
        if view.fault is not None:
            raise self._fail(position, f"the array {view.fault}")

    def _buffer(self, position: int) -> Buffer:
        param = self.params[position]
        assert isinstance(param, Buffer), "only tensors are checked"
        return param

    def _stored(self, buffer: Buffer, axis: int, is_stride: bool, value: int) -> int:
        """A declared extent or stride in storage elements, rounded up."""
        p, q = _scale(Site(buffer, axis, is_stride, value))
        return -(-value * p // q)

    # -- symbols ----------------------------------------------------------------------------------

    def _symbols(self, read: Sequence[Any]) -> dict[Var, int]:
        scalars = zip(self.params, read)
        values: dict[Var, int] = {
            p: v for p, v in scalars if isinstance(p, Var) and isinstance(v, int)
        }
        for binding in self.plan.bindings:
            values[binding.var] = self._solve(binding, read, values)
        return values

    def _solve(self, binding: Binding, read: Sequence[Any], values: Mapping[Var, int]) -> int:
        site = self._deciding_site(binding, read)
        position = self.positions[site.buffer]
        view = read[position]
        if not isinstance(view, TensorView):
            return 0  # an optional argument that is None; nothing asks for its symbols
        sizes = view.strides if site.is_stride else view.shape
        if len(sizes) != site.buffer.ndim:
            raise self._wrong(position, view)
        p, q = _scale(site)
        total = sizes[site.axis] * q - p * _value(binding.offset, values)
        factor = p * _value(binding.factor, values)
        kind = binding.var.dtype
        number, rest = divmod(total, factor) if factor else (0, 1)
        if (
            rest
            or not (site.is_stride or number >= 0)
            or not kind.min_value() <= number <= kind.max_value()
        ):
            where = f"the stride of axis {site.axis}" if site.is_stride else f"axis {site.axis}"
            reason = f" with {where} = {site.value} for some {kind} {binding.var.name} >= 0"
            raise self._wrong(position, view, reason)
        return number

    def _deciding_site(self, binding: Binding, read: Sequence[Any]) -> Site:
        """An axis of extent 1 does not decide a stride when another has the same one."""
        for site in (binding.site, *binding.alternatives):
            view = read[self.positions[site.buffer]]
            if not site.is_stride or (isinstance(view, TensorView) and view.shape[site.axis] != 1):
                return site
        return binding.site

    def _check_extents(self, read: Sequence[Any], values: Mapping[Var, int]) -> None:
        """Extents and strides that others decided."""
        for position in self.tensor_positions:
            buffer, view = self._buffer(position), read[position]
            if not isinstance(view, TensorView):
                continue
            for is_stride, declared in (
                (False, buffer.shape),
                (True, buffer.declared_strides or ()),
            ):
                actual = view.strides if is_stride else view.shape
                for axis, value in enumerate(declared):
                    if not isinstance(value, Expr) or (is_stride and view.shape[axis] == 1):
                        continue
                    if self._stored(buffer, axis, is_stride, _value(value, values)) != actual[axis]:
                        what = f" with strides {list(actual)}" if is_stride else ""
                        raise self._wrong(position, view, what + self._known(value, values))

    def _known(self, value: Expr, values: Mapping[Var, int]) -> str:
        return ", where " + ", ".join(f"{v.name} = {values[v]}" for v in used_vars(value))


def _scale(site: Site) -> tuple[int, int]:
    """`(p, q)` with declared * p == actual * q: other than 1 where elements are packed."""
    storage = storage_of(site.buffer.dtype)
    is_last = site.axis == site.buffer.ndim - 1
    return (storage.numerator, storage.denominator) if is_last != site.is_stride else (1, 1)


def _value(extent: Extent, values: Mapping[Var, int]) -> int:
    return int(evaluate(extent, values)) if isinstance(extent, Expr) else extent


def _listed(buffer: Buffer) -> str:
    return f"[{', '.join(map(str, buffer.strides))}]"


def _c_type(param: Buffer | Var) -> type[Any]:
    return ctypes.c_void_p if isinstance(param, Buffer) else C_TYPES[scalar_type(param.dtype)]
