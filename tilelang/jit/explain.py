"""What became of a kernel, and why: `kernel.explain()`.

In: a kernel's function, target and options. The function is lowered once more with every pass
telling what it decided, and for CUDA the text is compiled once more for the assembler's report;
nothing is read from caches, nothing is kept, no device is needed. Out: an `Explanation`, which
prints as text and turns into plain values for JSON.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tilelang.engine.lower import as_prim_func, compile_flags, lower, merged_configs
from tilelang.errors import Span, ToolchainError
from tilelang.ir.buffer import Buffer
from tilelang.ir.func import PrimFunc
from tilelang.transform.insert_barriers import BarrierNote
from tilelang.transform.notes import (
    ExchangeNote,
    InstructionNote,
    LaunchNote,
    LayoutNote,
    NestNote,
)
from tilelang.transform.plan_memory import MemoryPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tilelang.engine.nvrtc import KernelUsage
    from tilelang.target.occupancy import Occupancy
    from tilelang.target.target import Target


@dataclass(frozen=True)
class OperationExplanation:
    """One operation of the program, how it runs, and how many of its copies in the kernel do so.

    Attributes:
        line, file: where it stands; source: the text of that line.
        how: the note of the pass that decided.
        times: copies that run the same way; loops that are pipelined have several.
    """

    line: int | None
    file: str | None
    source: str
    how: NestNote | InstructionNote
    times: int = 1


@dataclass(frozen=True)
class DeviceUsage:
    """What the compiler says of one kernel, and what follows."""

    usage: KernelUsage
    dynamic_shared_bytes: int
    occupancy: Occupancy | None

    def __str__(self) -> str:
        used = self.usage
        spills = f"{used.spill_store_bytes} bytes stored and {used.spill_load_bytes} loaded"
        lines = [
            f"registers: {used.registers} per thread",
            f"spills: {spills}" if used.spill_store_bytes or used.spill_load_bytes else "no spills",
            f"stack: {used.stack_bytes} bytes per thread",
            f"shared memory: {used.shared_bytes + self.dynamic_shared_bytes} bytes per block",
        ]
        known = f"occupancy: {self.occupancy}" if self.occupancy else "occupancy: not known here"
        return "\n".join([*lines, known])


@dataclass(frozen=True)
class LaunchExplanation:
    """One launch.

    Attributes:
        device: `None` for a CPU, or with `why_no_device` where the compiler could not be asked.
    """

    name: str
    grid: tuple[str, ...]
    threads: int | None
    operations: tuple[OperationExplanation, ...]
    exchanges: tuple[ExchangeNote, ...]
    layouts: tuple[LayoutNote, ...]
    barriers: tuple[BarrierNote, ...]
    memory: MemoryPlan
    device: DeviceUsage | None
    why_no_device: str | None

    def __str__(self) -> str:
        threads = "" if self.threads is None else f", {self.threads} threads"
        parts = [f"{self.name}: grid ({', '.join(self.grid)}){threads}"]
        shown = [_operation_text(o) for o in self.operations]
        parts += _section("operations", shown or ["none: the program says what each thread does"])
        parts += _section("layouts", [str(x) for x in self.layouts])
        parts += _section("exchanges", [str(x) for x in self.exchanges])
        parts += _section("barriers", [str(x) for x in self.barriers])
        parts += _section("memory", [str(self.memory)] if self.memory.buffers else [])
        device = str(self.device) if self.device else self.why_no_device
        parts += _section("device", [device] if device else [])
        return "\n".join(parts)


@dataclass(frozen=True)
class Explanation:
    """What became of a kernel, launch by launch."""

    kernel: str
    target: str
    launches: tuple[LaunchExplanation, ...]

    def __str__(self) -> str:
        head = f"{self.kernel} for {self.target}"
        return "\n\n".join([head, *(str(x) for x in self.launches)])

    def to_dict(self) -> dict[str, Any]:
        """Lists, dicts, strings and numbers, for JSON."""
        return _plain(self)


def explain(
    func: PrimFunc,
    target: Target,
    pass_configs: Mapping[Any, Any] | None = None,
    flags: Sequence[str] | str | None = None,
) -> Explanation:
    """What becomes of `func`.

    Raises:
        Error: for whatever is wrong in the program.
    """
    notes: list[object] = []
    made = lower(func, target, pass_configs=pass_configs, flags=flags, notes=notes)
    lowered = as_prim_func(made.device_mod)
    heads = [n for n in notes if isinstance(n, LaunchNote)]
    plans = [n for n in notes if isinstance(n, MemoryPlan)]
    kernels, usage, why = [(func.name, 0)] * len(heads), {}, None
    if target.kind == "cuda":
        kernels = _kernels(lowered)
        given = compile_flags(func, merged_configs(func, pass_configs), flags, target)
        usage, why = _usage(func, made.kernel_source, target, given)
    assert len(heads) == len(plans) == len(kernels), "each pass tells of every launch once"
    launches = [
        _launch(head, notes, plan, name, _device(target, head, usage.get(name), shared), why)
        for head, plan, (name, shared) in zip(heads, plans, kernels)
    ]
    return Explanation(func.name, str(target), tuple(launches))


def _launch(
    head: LaunchNote,
    notes: list[object],
    plan: MemoryPlan,
    name: str,
    device: DeviceUsage | None,
    why_no_device: str | None,
) -> LaunchExplanation:
    def of(*kinds: type) -> list[Any]:
        found = [n for n in notes if isinstance(n, kinds)]
        return list(dict.fromkeys(n for n in found if getattr(n, "launch", 0) == head.launch))

    barriers = [n for n in notes if isinstance(n, BarrierNote) and n.launch == head.launch]
    copies = Counter(n for n in notes if isinstance(n, (NestNote, InstructionNote)))
    operations = [
        OperationExplanation(
            n.span.line if n.span else None,
            n.span.file if n.span else None,
            n.span.source_line().strip() if n.span else "",
            n,
            copies[n],
        )
        for n in of(NestNote, InstructionNote)
    ]
    operations.sort(key=lambda o: (o.file or "", o.line or 0))
    return LaunchExplanation(
        name, head.grid, head.threads, tuple(operations), tuple(of(ExchangeNote)),
        tuple(of(LayoutNote)), tuple(barriers), plan, device, why_no_device,
    )  # fmt: skip


# -- the compiler's report -------------------------------------------------------------------------


def _kernels(lowered: PrimFunc) -> list[tuple[str, int]]:
    """Name and bytes of dynamic shared memory of each launch."""
    from tilelang.codegen.kernel_launch import kernel_launches

    return [(k.name, k.shared_bytes) for k in kernel_launches(lowered)]


def _usage(
    func: PrimFunc, source: str, target: Target, flags: Sequence[str]
) -> tuple[dict[str, KernelUsage], str | None]:
    from tilelang.engine.cuda_build import compile_cubin

    try:
        return compile_cubin(func, source, target, flags).usage(), None
    except ToolchainError as error:
        return {}, f"not known: {error.message}"


def _device(
    target: Target, head: LaunchNote, usage: KernelUsage | None, shared: int
) -> DeviceUsage | None:
    if usage is None or head.threads is None:
        return None
    from tilelang.target.cuda import capability, compile_arch
    from tilelang.target.occupancy import occupancy

    total = usage.shared_bytes + shared
    number = capability(compile_arch(target))
    return DeviceUsage(usage, shared, occupancy(number, head.threads, usage.registers, total))


# -- text and plain values -------------------------------------------------------------------------


def _operation_text(op: OperationExplanation) -> str:
    times = f"  ({op.times} times)" if op.times > 1 else ""
    place = f"line {op.line}: {op.source}" if op.line else op.source
    return "\n".join([f"{place}{times}", _indented(str(op.how))])


def _section(title: str, rows: list[str]) -> list[str]:
    return [f"  {title}", *(_indented(_indented(row)) for row in rows)] if rows else []


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _plain(value: Any) -> Any:
    if isinstance(value, Span):
        return {"file": value.file, "line": value.line}
    if isinstance(value, Buffer):
        return value.name
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
