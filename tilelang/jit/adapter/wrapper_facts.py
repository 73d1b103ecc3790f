"""What the library wrappers read out of a lowered module, as plain facts.

In: the modules of a compilation. Out: the function to be called, its symbols, one `KernelFacts` per
launch in program order, the tensor-map records of the host, and how source declares a kernel. It
prints nothing; the wrappers (`wrapper.py`, `wrapper_cuda.py`, `wrapper_nvrtc.py`) turn these into
text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tilelang.codegen.c_launch import kernel_facts
from tilelang.codegen.host_symbols import dynamic_symbols
from tilelang.ir.annotation import ARENA_BYTES, L2_HIT_RATIO
from tilelang.ir.buffer import SHARED_DYN, Buffer, Extent
from tilelang.ir.expr import Call, Expr, StringImm, Var, as_expr, const_value
from tilelang.ir.func import IRModule, PrimFunc
from tilelang.ir.stmt import Allocate, Attr, Bind, Launch, Stmt, annotation
from tilelang.ir.visitor import children, walk

GLOBAL_FUNCTION = "tir.is_global_func"  # function attribute: bool, the one that callers reach
TENSOR_MAP_TILED = "__tvm_tensormap_create_tiled"
TENSOR_MAP_IM2COL = "__tvm_tensormap_create_im2col"
TENSOR_MAP_CREATORS = (TENSOR_MAP_TILED, TENSOR_MAP_IM2COL)


@dataclass(frozen=True, eq=False)
class KernelFacts:
    """One launch.

    Attributes:
        name: of the device function: `<func>_kernel`, later launches `<func>_kernel_1`, ...
        launch: the node.
        grid, block: extents (x, y, z), padded with 1.
        dynamic_shared_bytes: `None` when the launch uses none.
        is_cooperative: all blocks run at once, because they wait for each other.
        params: what the body needs from outside: pointers in parameter order, then scalars.
        l2_windows: buffers that are to stay in the L2 cache, with the hit ratio.
    """

    name: str
    launch: Launch
    grid: tuple[Extent, Extent, Extent]
    block: tuple[Extent, Extent, Extent]
    dynamic_shared_bytes: int | None
    is_cooperative: bool
    params: tuple[Var, ...]
    l2_windows: tuple[tuple[Buffer, float], ...]


@dataclass(frozen=True, eq=False)
class TensorMapRecord:
    """One tensor map (descriptor of the asynchronous copy engine) that the host has to make.

    `arguments` are, tiled: dtype id, rank r, address, r dims, r strides (bytes), r box extents,
    r element strides, interleave, swizzle, L2 promotion, out-of-bounds fill; im2col: dtype id,
    rank, address, r dims, r strides, r element strides, r - 2 lower and r - 2 upper corners, pixels
    per column, channels per pixel, and the same four.
    """

    creator: str
    handle: Var
    arguments: tuple[Expr, ...]


def main_function(module: IRModule, what: str = "module") -> PrimFunc:
    """The function that is called: the only one, else `main`, else the one flagged as global.

    Raises:
        ValueError: when none of these decides.
    """
    if len(module) == 1:
        return next(iter(module.functions.values()))
    if "main" in module:
        return module["main"]
    flagged = [f for f in module.functions.values() if f.attribute(GLOBAL_FUNCTION)]
    if len(flagged) == 1:
        return flagged[0]
    names = ", ".join(module.functions)
    raise ValueError(f"the {what} has {len(module)} functions ({names}); none is called `main`")


def symbol_types(func: PrimFunc) -> list[tuple[str, str]]:
    """(name, dtype) of the symbols of shapes in buffer order, then of strides, without parameters.

    Raises:
        AssertionError: when one name stands for two dtypes.
    """
    found: dict[str, str] = {}
    for var in dynamic_symbols(func):
        known = found.setdefault(var.name, var.dtype)
        assert known == var.dtype, f"the symbol `{var.name}` is both {known} and {var.dtype}"
    return list(found.items())


def kernels_of(func: PrimFunc) -> list[KernelFacts]:
    """The launches of `func` in program order."""
    found: list[KernelFacts] = []
    for launch, windows in _launches(func.body, ()):
        suffix = f"_{len(found)}" if found else ""
        facts = kernel_facts(func, launch)
        inner = [pair for node in walk(launch.body) for pair in _windows(node)]
        found.append(
            KernelFacts(
                name=f"{func.name}_kernel{suffix}",
                launch=launch,
                grid=_three(launch.grid_extents),
                block=_three(launch.thread_extents),
                dynamic_shared_bytes=dynamic_shared_bytes(launch),
                is_cooperative=any(
                    isinstance(n, Call) and n.op == "sync_grid" for n in walk(launch.body)
                ),
                params=(*(p.data for p in facts.pointers), *facts.scalars),
                l2_windows=tuple(dict((*windows, *inner)).items()),
            )
        )
    return found


def _launches(
    stmt: Stmt, windows: tuple[tuple[Buffer, float], ...]
) -> Iterator[tuple[Launch, tuple[tuple[Buffer, float], ...]]]:
    """Launches with the L2 windows that were annotated around them."""
    if isinstance(stmt, Launch):
        yield stmt, windows
        return
    inside = (*windows, *_windows(stmt))
    for child in children(stmt):
        if isinstance(child, Stmt):
            yield from _launches(child, inside)


def _windows(node: object) -> tuple[tuple[Buffer, float], ...]:
    if isinstance(node, Attr) and node.key == L2_HIT_RATIO:
        assert isinstance(node.value, tuple), "annotate_l2_hit_ratio gives pairs"
        return node.value
    return ()


def _three(extents: tuple[Expr, ...]) -> tuple[Extent, Extent, Extent]:
    x, y, z = [*(_plain(e) for e in extents), 1, 1][:3]
    return x, y, z


def _plain(value: Expr) -> Extent:
    number = const_value(value)
    return value if number is None else int(number)


def dynamic_shared_bytes(launch: Launch) -> int | None:
    """Bytes of dynamic shared memory: what the planner decided, else the sum of the buffers."""
    planned = annotation(launch.annotations, ARENA_BYTES)
    if isinstance(planned, int):
        return planned or None
    total = 0
    for node in walk(launch.body):
        if isinstance(node, Allocate) and node.buffer.scope() == SHARED_DYN:
            count = const_value(node.buffer.num_elements)
            assert isinstance(count, int), "shared memory has constant extents"
            total += -(-count * node.buffer.dtype.bits * node.buffer.dtype.lanes // 8)
    return total or None


def tensor_maps_of(func: PrimFunc) -> list[TensorMapRecord]:
    """The tensor maps that the host part of `func` makes, in program order.

    A record is `Bind(handle, Call(creator, arguments))`, or the packed call
    `Call("call_packed", (creator, handle, *arguments))`.
    """
    records: list[TensorMapRecord] = []
    for node in walk(func.body):
        if isinstance(node, Bind) and isinstance(node.value, Call):
            if node.value.op in TENSOR_MAP_CREATORS:
                records.append(TensorMapRecord(node.value.op, node.var, node.value.args))
        elif isinstance(node, Call) and node.op == "call_packed" and node.args:
            name, *rest = node.args
            if isinstance(name, StringImm) and name.value in TENSOR_MAP_CREATORS:
                assert rest and isinstance(rest[0], Var), "a tensor map is made into a variable"
                records.append(TensorMapRecord(name.value, rest[0], tuple(rest[1:])))
    return records


def buffer_bytes(buffer: Buffer) -> Expr:
    """Size of a buffer, as an expression over its symbols."""
    count = as_expr(buffer.num_elements)
    bits = buffer.dtype.bits * buffer.dtype.lanes
    return count * (bits // 8) if bits % 8 == 0 else (count * bits + 7) // 8


def kernel_parameter_names(code: str, kernel: str) -> list[str]:
    """Names of the parameters with which `code` declares the function `kernel`.

    Raises:
        AssertionError: when it does not.
    """
    start = re.search(rf"\b{re.escape(kernel)}\s*\(", code)
    assert start is not None, f"the source declares no kernel `{kernel}`"
    depth, end = 1, start.end()
    while depth and end < len(code):
        depth += {"(": 1, ")": -1}.get(code[end], 0)
        end += 1
    inner = code[start.end() : end - 1]
    if inner.strip() in ("", "void"):
        return []
    names = [re.search(r"(\w+)\s*(\[[^\]]*\])?\s*$", part) for part in _split(inner)]
    assert all(names), f"the declaration of `{kernel}` has a parameter without a name"
    return [name.group(1) for name in names if name is not None]


def _split(text: str) -> list[str]:
    """Parts between the commas that stand in no parentheses or angle brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += {"(": 1, "<": 1, "[": 1, ")": -1, ">": -1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
