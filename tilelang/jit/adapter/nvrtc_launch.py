"""The host side of a CUDA function as Python text, for the `nvrtc` backend.

In: the flattened function of a compilation. Out: text of

    tl_kernels = ((name, place, block, shared bytes, format and offsets of parameters, ...), ...)
    def call(*tl_args, stream=None): ...                 quick look at the arguments, then `launch`
    def launch(tl_device, tl_stream, A, alpha, m): ...   grid extents, workspaces, launches

`call` launches where the arguments are the usual ones in every respect; otherwise
`cython_arguments` looks again (`tl_look_again`), and says what is wrong. `launch` packs a kernel's
launch dimensions and parameters with one call into memory of its thread, in the form that the
driver reads, and hands the driver their address: what is the same at every call is done once. What
the text calls is given to it by `nvrtc.py`. It is printed once per kernel. Names of ours begin with
`tl_`, which no name of a user's does.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence
from typing import NamedTuple

from tilelang.codegen.host_cuda import where
from tilelang.codegen.host_symbols import plan_symbols, storage_of, symbols_in
from tilelang.codegen.kernel_launch import KernelLaunch, kernel_launches
from tilelang.ir.buffer import Buffer, Extent
from tilelang.ir.expr import Var, const_value
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import Launch
from tilelang.jit.adapter.wrapper_launch import PYTHON, HostExpressions, HostPrinter

_LANGUAGE = dataclasses.replace(
    PYTHON,
    allocate="{name} = tl_allocate({bytes}, tl_stream, tl_device)",
    free="tl_free({name}, tl_stream)",
)
_FORMATS = {  # C type of a parameter -> format of `struct`
    "void *": "P", "_Bool": "?", "float": "f", "double": "d",
    "int8_t": "b", "int16_t": "h", "int32_t": "i", "int64_t": "q",
    "uint8_t": "B", "uint16_t": "H", "uint32_t": "I", "uint64_t": "Q",
}  # fmt: skip
# The driver's launch configuration: grid, block, dynamic shared bytes, stream, launch attributes
# and how many there are.
CONFIG = "@7I4xPPI4x"


class KernelRow(NamedTuple):
    """One kernel, as the text lists it.

    Attributes:
        place: of the user's launch, for messages.
        block: threads along x, y, z.
        format: of `struct`, native sizes and alignment: `CONFIG`, then the parameters.
        offsets: of each parameter, in bytes.
        cooperative: all blocks must be resident at once.
    """

    name: str
    place: str
    block: tuple[int, int, int]
    shared_bytes: int
    format: str
    offsets: tuple[int, ...]
    cooperative: bool


def kernel_row(kernel: KernelLaunch) -> KernelRow:
    """Each parameter at a multiple of its size."""
    text, offsets = CONFIG, []
    for param in kernel.params:
        kind = _FORMATS[param.c_type]
        text += kind
        offsets.append(struct.calcsize(text) - struct.calcsize("@" + kind))
    return KernelRow(
        kernel.name, where(kernel.span), kernel.block, kernel.shared_bytes, text, tuple(offsets),
        bool(kernel.cooperative),
    )  # fmt: skip


class LauncherPrinter:
    """Prints the launcher of one function."""

    def __init__(self, func: PrimFunc, lowered: PrimFunc) -> None:
        self.func = func
        self.lowered = lowered
        self.plan = plan_symbols(func)
        self.kernels: list[KernelLaunch] = kernel_launches(lowered)
        self.names = _names(func)
        self.expressions = HostExpressions(_LANGUAGE, self.names)

    def text(self) -> str:
        """The table and both functions."""
        rows = "".join(f"    {tuple(kernel_row(k))!r},\n" for k in self.kernels)
        return f"tl_kernels = (\n{rows})\n\n\n{self.call_text()}\n\n{self.launch_text()}"

    # -- reading arguments ------------------------------------------------------------------------

    def call_text(self) -> str:
        """`call`: conditions that together are enough, not what a message needs."""
        again = "return tl_look_again(tl_args, stream)"
        head = "def call(*tl_args, stream=None):"
        tests = self._tests()
        if tests is None:
            return f"{head}\n    {again}\n"
        params = [self._name(p) for p in self.func.params]
        first = next((b for b in self.func.buffer_params), None)
        device = "tl_current_device()" if first is None else f"{self._name(first)}.get_device()"
        lines = [head, "    try:"]
        lines += [f"        {', '.join(params)}, = tl_args"] if params else []
        lines += [f"        tl_device = {device}", *(f"        {t}" for t in self._symbol_lines())]
        lines += ["        if not (", *(f"            {t}" for t in _joined(tests)), "        ):"]
        lines += [f"            {again}"]
        lines += [
            "    except (TypeError, ValueError, AttributeError, IndexError):",
            f"        {again}",
        ]
        addresses = [
            f"tl_at_{name}" if isinstance(param, Buffer) else name
            for name, param in zip(params, self.params)
        ]
        values = ", ".join([*addresses, *(self.names[v] for v in self.plan.symbols)])
        lines += [
            "    if stream is None:",
            "        stream = tl_current_stream(tl_device)",
            "    if tl_memory.has_context and tl_device == tl_current_device():",
            f"        launch(tl_device, stream, {values})",
            "    else:",
            f"        tl_launch_on(tl_device, stream, {values})",
            "",
        ]
        return "\n".join(lines)

    @property
    def params(self) -> Sequence[Buffer | Var]:
        return self.func.params

    def _name(self, param: Buffer | Var) -> str:
        return self.names[param.data if isinstance(param, Buffer) else param]

    def _symbol_lines(self) -> list[str]:
        return [
            f"{self.names[b.var]} = {self._name(b.site.buffer)}.shape[{b.site.axis}]"
            for b in self.plan.bindings
        ]

    def _tests(self) -> list[str] | None:
        """Conditions on the arguments; `None` where a quick look cannot be enough."""
        if any(b.site.is_stride or b.site.value is not b.var for b in self.plan.bindings):
            return None
        tests = ["tl_device >= 0"]
        first = next((k for k, p in enumerate(self.params) if isinstance(p, Buffer)), None)
        for position, param in enumerate(self.params):
            name = self._name(param)
            if isinstance(param, Buffer):
                storage = storage_of(param.dtype)
                if param.declared_strides is not None or storage.numerator != storage.denominator:
                    return None
                if position != first:
                    tests.append(f"{name}.get_device() == tl_device")
                tests += [
                    f"{name}.dtype in tl_kinds_{position}",
                    f"{name}.shape == {self._shape(param.shape)}",
                    f"{name}.is_contiguous()",
                    f"not (tl_at_{name} := {name}.data_ptr()) & 15",
                ]
            else:
                tests += self._scalar_tests(param, name)
        for binding in self.plan.bindings:
            if binding.var.dtype.bits < 64:
                tests.append(f"{self.names[binding.var]} <= {binding.var.dtype.max_value()}")
        return tests

    def _scalar_tests(self, var: Var, name: str) -> list[str]:
        kind = var.dtype
        if kind.is_bool:
            return [f"type({name}) is bool"]
        if kind.is_int:
            return [
                f"type({name}) is int",
                f"{kind.min_value()} <= {name} <= {kind.max_value()}",
            ]
        return [f"type({name}) is {'float' if kind.is_float else 'int'}"]

    def _shape(self, shape: Sequence[Extent]) -> str:
        extents = [self._extent(e) for e in shape]
        return f"({', '.join(extents)}{',' if len(extents) == 1 else ''})"

    def _extent(self, extent: Extent) -> str:
        number = const_value(extent)
        return str(number) if number is not None else self.expressions.text(extent)

    # -- launching --------------------------------------------------------------------------------

    def launch_text(self) -> str:
        """`launch`, with the statements around the kernels."""
        params = [self._name(p) for p in self.params]
        params += [self.names[v] for v in self.plan.symbols]
        printer = HostPrinter(_LANGUAGE, self.expressions, self._launch)
        body = printer.body(self.lowered.body).expandtabs(4)
        head = f"def launch({', '.join(['tl_device', 'tl_stream', *params])}):"
        found = "tl_functions = tl_loaded.get(tl_device) or tl_functions_on(tl_device)"
        return f"{head}\n    {found}\n{body}\n"

    def _launch(self, node: Launch) -> str:
        index = next(i for i, k in enumerate(self.kernels) if k.node is node)
        kernel = self.kernels[index]
        extents = [self._extent(e) for e in kernel.grid]
        lines: list[str] = []
        for axis, extent in zip("xyz", extents):
            if not extent.lstrip("-").isdecimal():
                lines.append(f"tl_grid_{axis} = {extent}")
        grid = [e if e.lstrip("-").isdecimal() else f"tl_grid_{a}" for a, e in zip("xyz", extents)]
        unknown = [f"{e} > 0" for e in grid if not e.isdecimal()]
        if "0" in grid:
            return "\tpass"
        inside = "\t" if unknown else ""
        if unknown:
            lines.append(f"if {' and '.join(unknown)}:")
        for line in self._start(index, kernel, grid):
            lines.append(inside + line)
        return "\n".join(f"\t{line}" for line in lines)

    def _start(self, index: int, kernel: KernelLaunch, grid: Sequence[str]) -> list[str]:
        block, size = ", ".join(map(str, kernel.block)), ", ".join(grid)
        attributes = "tl_attributes, 1" if kernel.cooperative else "0, 0"
        config = f"{size}, {block}, {kernel.shared_bytes}, tl_stream, {attributes}"
        values = ", ".join([config, *(self._value(p.var) for p in kernel.params)])
        return [
            f"tl_bytes, tl_config, tl_parameters, tl_attributes = tl_memory.kernels[{index}]",
            f"tl_pack_{index}(tl_bytes, 0, {values})",
            f"tl_code = tl_launch(tl_config, tl_functions[{index}], tl_parameters, None)",
            f"if tl_code: tl_failed({index}, tl_code, tl_device, ({size}))",
        ]

    def _value(self, var: Var) -> str:
        return self.expressions.names.get(var, var.name)


def _names(func: PrimFunc) -> dict[Var, str]:
    """A Python name for each parameter and symbol that no other name of the text equals."""
    params = [p.data if isinstance(p, Buffer) else p for p in func.params]
    extents = [e for b in func.buffer_params for e in (*b.shape, *(b.declared_strides or ()))]
    names: dict[Var, str] = {}
    for var in (*params, *symbols_in(extents)):
        if var not in names:
            text = "".join(c if c.isalnum() else "_" for c in var.name).removeprefix("tl_")
            names[var] = f"{text}_" if f"{text}_" not in names.values() else f"{text}_{len(names)}"
    return names


def _joined(tests: Sequence[str]) -> list[str]:
    return [tests[0], *(f"and {t}" for t in tests[1:])]
