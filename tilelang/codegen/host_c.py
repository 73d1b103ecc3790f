"""PrimFunc parameters -> C text of the function that callers reach through apache-tvm-ffi.

In: a PrimFunc (its parameters are all that matters, and which of them the body touches), from
`engine.lower`; the name of the C function to call. Out: text to stand after that function in the
same translation unit; it includes `device/c/ffi_args.h`, where the checks and messages are defined.

The entry point checks every argument, finds the symbols of shapes and strides, and calls

    int32_t callee(void *A, float alpha, ..., int32_t m, ...)

with the parameters in order and the symbols (`host_symbols.dynamic_symbols`) after them. It knows
nothing of what the kernel does, and allocates nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TypeAlias

from tilelang.codegen.host_print import expected_text, print_integer, quote, scalar_c_type
from tilelang.codegen.host_symbols import (
    Binding,
    Site,
    Storage,
    SymbolPlan,
    dynamic_symbols,
    plan_symbols,
    storage_of,
    symbols_in,
    touched_pointers,
)
from tilelang.ir.buffer import Buffer, Extent
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Expr, Var, as_expr, const_value
from tilelang.ir.func import PrimFunc
from tilelang.ir.record import record

ExprPrinter: TypeAlias = Callable[[Expr, Mapping[Var, str]], str]
ScalarType: TypeAlias = Callable[[dtype], str]


@record
class Residence:
    """Where the tensors of a call have to be.

    Attributes:
        name: in messages: `float16[4] on cuda`.
        test: C function of `ffi_args.h` that says whether a tensor is there.
        alignment: bytes by which data addresses have to be divisible; at least the element's size.
        device_type: DLPack's number of the kind of device.
        passes_device: the callee's first parameter is the number of the device, -1 without
            tensors; all tensors have to be on the same.
    """

    name: str
    test: str
    alignment: int
    device_type: int
    passes_device: bool


HOST = Residence("cpu", "tl_ffi_is_on_host", 1, 1, False)
CUDA = Residence("cuda", "tl_ffi_is_on_cuda", 16, 2, True)


def callee_declaration(func: PrimFunc, callee: str, scalar_type: ScalarType = scalar_c_type) -> str:
    """`int32_t callee(void *A, float alpha, int32_t m)`: what the entry point calls."""
    params = [
        f"void *{p.name}" if isinstance(p, Buffer) else f"{scalar_type(p.dtype)} {p.name}"
        for p in func.params
    ]
    params += [f"{scalar_type(v.dtype)} {v.name}" for v in dynamic_symbols(func)]
    return f"int32_t {callee}({', '.join(params) or 'void'})"


def emit_entry(
    func: PrimFunc,
    callee: str,
    *,
    print_expr: ExprPrinter = print_integer,
    scalar_type: ScalarType = scalar_c_type,
    failure_reason: str = "0",
    residence: Residence = HOST,
) -> str:
    """C text of the FFI entry point `__tvm_ffi_<func.name>`, which checks and calls `callee`.

    Args:
        func: its parameters are the arguments; its body says which of them are used.
        callee: name of a C function declared as `callee_declaration` gives it; returns 0 when all
            went well, 1 when memory for its blocks could not be had, anything else on failure.
        print_expr: prints an integer expression over variables of the given C names.
        scalar_type: C type in which `callee` takes a scalar of a dtype.
        failure_reason: C expression for the text (`const char *` or null) of a failure.
        residence: where the tensors have to be.

    Raises:
        ArgumentError: when no argument determines a symbol of a shape or stride.
    """
    return _Entry(func, callee, print_expr, scalar_type, failure_reason, residence).text()


class _Entry:
    """Writes one entry point: read each argument, find symbols, check shapes and strides, call."""

    def __init__(
        self,
        func: PrimFunc,
        callee: str,
        print_expr: ExprPrinter,
        scalar_type: ScalarType,
        failure_reason: str,
        residence: Residence,
    ) -> None:
        self.failure_reason = failure_reason
        self.residence = residence
        self.func = func
        self.callee = callee
        self.print_expr = print_expr
        self.scalar_type = scalar_type
        self.plan: SymbolPlan = plan_symbols(func)
        self.touched = touched_pointers(func)
        self.lines: list[str] = []
        self.depth = 1
        self.taken: set[str] = {"self", "args", "num_args", "result", "code", "device"}
        self.idents = {id(p): self._unique("", p.name) for p in func.params}
        scalars = [p for p in func.params if isinstance(p, Var)]
        self.names: dict[Var, str] = {
            v: self._unique("n_", v.name) for v in (*scalars, *self.plan.symbols)
        }
        self.storage: dict[Buffer, Storage] = {b: storage_of(b.dtype) for b in func.buffer_params}

    def _unique(self, prefix: str, name: str) -> str:
        base = prefix + re.sub(r"[^A-Za-z0-9_]", "_", name)
        found, i = base, 2
        while found in self.taken:
            found, i = f"{base}_{i}", i + 1
        self.taken.add(found)
        return found

    # -- lines ------------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        self.lines.append("  " * self.depth + text)

    def fail_if(self, condition: str, failure: str) -> None:
        """Leave with the error that `failure` raises when `condition` holds."""
        self.line(f"if (TL_FFI_UNLIKELY({condition}))")
        self.line(f"  return {failure};")

    @contextmanager
    def present(self, buffer: Buffer) -> Generator[None, None, None]:
        """What is written inside runs only when the argument for an optional buffer is not None."""
        if buffer not in self.plan.optional:
            yield
            return
        self.line(f"if (t_{self.ident(buffer)}) {{")
        self.depth += 1
        yield
        self.depth -= 1
        self.line("}")

    def ident(self, param: Buffer | Var) -> str:
        return self.idents[id(param)]

    def expr(self, value: Extent) -> str:
        return self.print_expr(as_expr(value), self.names)

    # -- parts ------------------------------------------------------------------------------------

    def text(self) -> str:
        func = self.func
        names = ", ".join(p.name for p in func.params)
        count = len(func.params)
        self.fail_if(
            f"num_args != {count}",
            f"tl_ffi_wrong_count({quote(func.name)}, {quote(names)}, {count}, num_args)",
        )
        if self.residence.passes_device:
            self.line("int32_t device = -1;")
        for i, param in enumerate(func.params):
            if isinstance(param, Buffer):
                self.read_tensor(i, param)
            else:
                self.read_scalar(i, param)
        self.find_symbols()
        for buffer in func.buffer_params:
            with self.present(buffer):
                self.check_shape(buffer)
                self.check_strides(buffer)
        self.call()
        head = (
            f"TL_FFI_ENTRY int __tvm_ffi_{func.name}(void *self, const tl_ffi_any *args,"
            " int32_t num_args, tl_ffi_any *result) {"
        )
        words = ["#define TL_FFI_SHOW_CPU 1"] if self.residence is not HOST else []
        return "\n".join([*words, '#include "ffi_args.h"', "", head, *self.lines, "}", ""])

    def describe_param(self, index: int, param: Buffer | Var) -> str:
        """The constant that says in messages which parameter this is."""
        expected = expected_text(param, self.residence.name)
        parts = ", ".join(quote(t) for t in (self.func.name, param.name, expected))
        self.line(f"static const tl_ffi_param p_{self.ident(param)} = {{{parts}, {index + 1}}};")
        return f"&p_{self.ident(param)}"

    def read_tensor(self, index: int, buffer: Buffer) -> None:
        storage, t = self.storage[buffer], f"t_{self.ident(buffer)}"
        param = self.describe_param(index, buffer)
        self.line(f"const tl_ffi_tensor *const {t} = tl_ffi_as_tensor(&args[{index}]);")
        optional = (
            f" && args[{index}].type_index != TL_FFI_NONE" if buffer in self.plan.optional else ""
        )
        self.fail_if(f"!{t}{optional}", f"tl_ffi_wrong_kind({param}, &args[{index}])")
        with self.present(buffer):
            kinds = " && ".join(
                f"tl_ffi_dtype({t}) != TL_FFI_DTYPE({code}, {bits}, {lanes})"
                for code, bits, lanes in storage.dtypes
            )
            self.fail_if(
                f"{t}->ndim != {buffer.ndim} || {_group(kinds)} || !{self.residence.test}({t})",
                self.wrong_tensor(buffer),
            )
            self.check_device(index, buffer)
            alignment = max(storage.itemsize, self.residence.alignment)
            if alignment > 1:
                self.fail_if(
                    f"tl_ffi_is_misaligned({t}, {alignment})",
                    f"tl_ffi_wrong_alignment({param}, {t}, {alignment})",
                )

    def check_device(self, index: int, buffer: Buffer) -> None:
        """That all tensors are on one device."""
        if not self.residence.passes_device:
            return
        t = f"t_{self.ident(buffer)}"
        if index == 0 and buffer not in self.plan.optional:
            self.line(f"device = {t}->device_id;")
            return
        self.line(f"if (device < 0) device = {t}->device_id;")
        reason = self.wrong_tensor(buffer, ":%d as the tensors before it", "device")
        self.fail_if(f"{t}->device_id != device", reason)

    def read_scalar(self, index: int, var: Var) -> None:
        param, arg, name = self.describe_param(index, var), f"&args[{index}]", self.names[var]
        kind = var.dtype
        if kind.kind == "handle":
            self.line(f"void *{name};")
            null = f" || !{name}" if var in self.touched else ""
            if self.residence is not HOST:
                null += f" || !tl_ffi_points({arg}, {self.residence.test})"
            self.fail_if(
                f"!tl_ffi_read_pointer({arg}, &{name}){null}", f"tl_ffi_wrong_kind({param}, {arg})"
            )
            return
        if kind == "uint64":
            self.line(f"uint64_t {name};")
            self.line(f"int {name}_fits;")
            self.fail_if(
                f"!tl_ffi_read_uint64({arg}, &{name}, &{name}_fits)",
                f"tl_ffi_wrong_kind({param}, {arg})",
            )
            self.fail_if(
                f"!{name}_fits", f'tl_ffi_out_of_range({param}, {arg}, "0 to {kind.max_value()}")'
            )
            return
        reader, held = ("float", "double") if kind.is_float else ("int", "int64_t")
        self.line(f"{held} {name};")
        self.fail_if(f"!tl_ffi_read_{reader}({arg}, &{name})", f"tl_ffi_wrong_kind({param}, {arg})")
        if kind.is_int and kind.bits < 64:
            low, high = kind.min_value(), kind.max_value()
            self.fail_if(
                f"{name} < {low}LL || {name} > {high}LL",
                f'tl_ffi_out_of_range({param}, {arg}, "{low} to {high}")',
            )

    def find_symbols(self) -> None:
        for binding in self.plan.bindings:
            name = self.names[binding.var]
            if binding.site.buffer in self.plan.optional:
                self.line(f"int64_t {name} = 0;")
                with self.present(binding.site.buffer):
                    self.bind(binding, name)
            else:
                self.bind(binding, f"const int64_t {name}")

    def bind(self, binding: Binding, target: str) -> None:
        site, name, kind = binding.site, self.names[binding.var], binding.var.dtype
        scale, unit = self.scale(site)
        times = "" if unit == 1 else f" * {unit}"
        tests = [f"{name} > {kind.max_value()}LL"] if kind.bits < 64 else []
        if binding.factor == 1 and binding.offset == 0 and scale == 1:
            self.line(f"{target} = {self.plain_value(binding)}{times};")
        else:
            form = (self.expr(v) for v in (binding.factor, binding.offset))
            form = ", ".join(v if scale == 1 else f"{scale} * {v}" for v in form)
            self.line(f"{target} = tl_ffi_solve({self.value_at(site)}{times}, {form});")
            tests.insert(0, f"{name} < 0")
        if tests:
            what = f"the stride of axis {site.axis}" if site.is_stride else f"axis {site.axis}"
            reason = f" with {what} = {site.value} for some {kind} {binding.var.name} >= 0"
            failure = self.wrong_tensor(site.buffer, reason.replace("%", "%%"))
            self.fail_if(" || ".join(tests), failure)

    def plain_value(self, binding: Binding) -> str:
        """Where a plain symbol is read; an axis of extent 1 does not decide a stride."""
        chosen = self.value_at(binding.site)
        candidates = [s for s in binding.alternatives if s.buffer not in self.plan.optional]
        if not candidates or binding.site.buffer in self.plan.optional:
            return chosen
        tests = [
            (f"t_{self.ident(s.buffer)}->shape[{s.axis}] > 1", self.value_at(s))
            for s in (binding.site, *candidates)
        ]
        return " : ".join(f"{test} ? {value}" for test, value in tests) + f" : {chosen}"

    def value_at(self, site: Site) -> str:
        t = f"t_{self.ident(site.buffer)}"
        return f"tl_ffi_stride({t}, {site.axis})" if site.is_stride else f"{t}->shape[{site.axis}]"

    def scale(self, site: Site) -> tuple[int, int]:
        """`(p, q)` with `declared * p == actual * q`, other than 1 where elements are packed."""
        storage, last = self.storage[site.buffer], site.axis == site.buffer.ndim - 1
        return (storage.numerator, storage.denominator) if last != site.is_stride else (1, 1)

    def stored(self, value: Extent, buffer: Buffer) -> str:
        """A declared number of elements in storage elements, rounded up."""
        storage, number = self.storage[buffer], const_value(value)
        if number is not None:
            return str(-(-int(number) * storage.numerator // storage.denominator))
        text = self.expr(value)
        text = text if storage.numerator == 1 else f"{text} * {storage.numerator}"
        up = storage.denominator - 1
        return text if up == 0 else f"({text} + {up}) / {storage.denominator}"

    def check_shape(self, buffer: Buffer) -> None:
        t = f"t_{self.ident(buffer)}"
        own = {
            b.site.axis
            for b in self.plan.bindings
            if b.site.buffer is buffer and not b.site.is_stride
        }
        wanted = [self.expr(e) for e in buffer.shape]
        if wanted:
            wanted[-1] = self.stored(buffer.shape[-1], buffer)
        tests = [f"{t}->shape[{i}] != {w}" for i, w in enumerate(wanted) if i not in own]
        if tests:
            reason = self.foreign_symbols(buffer)
            self.fail_if(" || ".join(tests), self.wrong_tensor(buffer, *reason))

    def check_strides(self, buffer: Buffer) -> None:
        if not buffer.ndim:
            return
        t, strides = f"t_{self.ident(buffer)}", self.expected_strides(buffer)
        ident = self.ident(buffer)
        tests = " || ".join(
            f"{t}->strides[{i}] != {s}" for i, s in reversed(list(enumerate(strides)))
        )
        what = "with contiguous strides" if buffer.declared_strides is None else "with strides"
        guard = f"{t}->strides && " if buffer.declared_strides is None else f"!{t}->strides || "
        self.line(f"if (TL_FFI_UNLIKELY({guard}{_group(tests)})) {{")
        self.line(f"  const int64_t expected[] = {{{', '.join(strides)}}};")
        self.line(f'  if (tl_ffi_check_strides(&p_{ident}, {t}, expected, "{what}")) return -1;')
        self.line("}")

    def expected_strides(self, buffer: Buffer) -> list[str]:
        """In storage elements; a dense buffer's from the shape, which has been checked by then."""
        if buffer.declared_strides is not None:
            *outer, last = buffer.declared_strides
            return [*(self.stored(s, buffer) for s in outer), self.expr(last)]
        extents = [self.expr(e) for e in buffer.shape[:-1]] + [
            self.stored(buffer.shape[-1], buffer)
        ]
        strides, factors, constant = ["1"], [""], 1
        for axis in range(buffer.ndim - 1, 0, -1):
            if extents[axis].isdecimal():
                constant *= int(extents[axis])
            else:
                factors.append(f"t_{self.ident(buffer)}->shape[{axis}]")
            symbolic = " * ".join(f for f in factors if f)
            strides.append(
                str(constant)
                if not symbolic
                else symbolic
                if constant == 1
                else f"{constant} * {symbolic}"
            )
        return strides[::-1]

    # -- messages ---------------------------------------------------------------------------------

    def wrong_tensor(self, buffer: Buffer, format_: str = "", *values: str) -> str:
        ident, arguments = self.ident(buffer), ", ".join((quote(format_), *values))
        return f"tl_ffi_wrong_tensor(&p_{ident}, t_{ident}, {arguments})"

    def foreign_symbols(self, buffer: Buffer) -> tuple[str, ...]:
        """Format and arguments of `, where m = 128 (argument 1 `A`)`, for what others decided."""
        parts: list[str] = []
        values: list[str] = []
        for var in symbols_in(buffer.shape):
            binding = self.plan.binding_of(var)
            source: Buffer | Var = var if binding is None else binding.site.buffer
            if source is buffer:
                continue
            index = next(i for i, p in enumerate(self.func.params) if p is source)
            parts.append(f"{var.name} = %lld (argument {index + 1} `{source.name}`)")
            values.append(f"(long long){self.names[var]}")
        return (", where " + ", ".join(parts) if parts else "", *values)

    # -- the call ---------------------------------------------------------------------------------

    def call(self) -> None:
        values = ["device"] if self.residence.passes_device else []
        for param in self.func.params:
            if isinstance(param, Var):
                values.append(f"({self.scalar_type(param.dtype)}){self.names[param]}")
                continue
            t = f"t_{self.ident(param)}"
            data = f"tl_ffi_data({t})"
            values.append(f"{t} ? {data} : (void *)0" if param in self.plan.optional else data)
        values += [f"({self.scalar_type(v.dtype)}){self.names[v]}" for v in self.plan.symbols]
        self.line(f"const int32_t code = {self.callee}({', '.join(values)});")
        failed = f"tl_ffi_kernel_failed({quote(self.func.name)}, code, {self.failure_reason})"
        self.fail_if("code != 0", failed)
        self.line("return 0;")


def _group(text: str) -> str:
    return f"({text})" if " || " in text or " && " in text else text
