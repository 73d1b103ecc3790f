"""One product on one block: fragments and registers made by hand, the lowering run in lockstep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.lowering import random_array, same
from tests.tileop.cuda.lockstep import Block
from tilelang.codegen.cuda import print_cuda
from tilelang.engine.nvrtc import KernelUsage, NvrtcToolchain, nvrtc_version
from tilelang.errors import ToolchainError
from tilelang.ir.annotation import ARENA_BYTES, ARENA_OFFSET, LAYOUT
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import BOOL, BufferLoad, BufferRegion, Call, Expr, Range, Var, as_expr
from tilelang.ir.func import PrimFunc
from tilelang.ir.stmt import (
    Allocate,
    Annotations,
    BufferStore,
    Evaluate,
    Launch,
    LoopKind,
    Stmt,
    seq,
)  # fmt: skip
from tilelang.ir.tile import TileOp, TileOperand
from tilelang.layout.evaluate import evaluate
from tilelang.layout.fragment import Fragment
from tilelang.layout.holding import Holding
from tilelang.layout.layout import unflatten
from tilelang.target.target import Target
from tilelang.tileop.base import Instruction
from tilelang.tileop.context import BlockThreads, LowerContext
from tilelang.tileop.gemm import Gemm, Matrix
from tilelang.tileop.loops import loop, when
from tilelang.transform.context import PassContext
from tilelang.transform.facts import Facts
from tilelang.transform.flatten_buffers import flatten_buffers
from tilelang.transform.simplify import simplify


@dataclass(frozen=True)
class Product:
    """`C[M, N] += op(A) op(B)`, each a whole buffer unless `wider` names one around it."""

    M: int
    N: int
    K: int
    a: str = "float16"
    c: str = "float32"
    b: str | None = None
    tA: bool = False
    tB: bool = False
    scopes: tuple[str, str, str] = ("shared.dyn", "shared.dyn", "local.fragment")
    clear: Any = False
    policy: int = 0
    wider: tuple[tuple[tuple[int, ...], tuple[int, ...]] | None, ...] = (None, None, None)

    def op(self) -> Gemm:
        """The operation; `wider[n]` is the (shape, start) of the buffer around operand n."""
        boxes = {
            "A": (self.K, self.M) if self.tA else (self.M, self.K),
            "B": (self.N, self.K) if self.tB else (self.K, self.N),
            "C": (self.M, self.N),
        }
        kinds = {"A": self.a, "B": self.b or self.a, "C": self.c}
        operands = []
        for n, name in enumerate("ABC"):
            box, around = boxes[name], self.wider[n]
            shape, start = around if around else (box, (0,) * len(box))
            buffer = Buffer(name, shape, kinds[name], self.scopes[n])
            extents = (1,) * (len(shape) - 2) + box
            ranges = (Range(as_expr(s), as_expr(e)) for s, e in zip(start, extents))
            region = BufferRegion(buffer, tuple(ranges))
            operands.append(TileOperand(name, region, "rw" if name == "C" else "r"))
        flags = (("transpose_A", self.tA), ("transpose_B", self.tB), ("policy", self.policy))
        values = (("clear_accum", as_expr(self.clear)),)
        return Gemm(TileOp("gemm", tuple(operands), values, flags))


THREAD = Var("tx")


def context(threads: int, arch: str = "sm_90a") -> LowerContext:
    """What an instruction is told before layouts are known."""
    facts = Facts()
    facts.add_range(THREAD, as_expr(0), as_expr(threads))
    return LowerContext(Target(f"cuda -arch={arch}"), facts, threads=BlockThreads(threads, THREAD))


def place(
    op: Gemm,
    instruction: Instruction,
    ctx: LowerContext,
    fragments: dict[str, Fragment] | None = None,
) -> None:
    """Give the fragments and shared buffers of `op` what `instruction` needs."""
    needs = instruction.needs(op, ctx)
    ctx.fragments, ctx.registers, ctx.layouts = dict(needs.fragments), {}, dict(needs.shared)
    for matrix in (op.A, op.B, op.C):
        buffer = matrix.buffer
        if fragments and buffer.name in fragments:
            ctx.fragments[buffer] = fragments[buffer.name]
        if buffer.is_fragment:
            size = ctx.fragments[buffer].get_output_shape()[0]
            ctx.registers[buffer] = Buffer(buffer.name, (size,), buffer.dtype, "local")


def lowered(op: Gemm, instruction: Instruction, ctx: LowerContext) -> Stmt:
    """The statements of `op` with what it allocates."""
    body = instruction.lower(op, ctx)
    return seq([*(Allocate(b) for b in ctx.scratch), body])


def check(
    product: Product,
    instruction: Instruction,
    threads: int = 128,
    arch: str = "sm_90a",
    tolerance: float = 0.0,
    seed: int = 0,
    fragments: dict[str, Fragment] | None = None,
    values: dict[Var, int] | None = None,
) -> Block:
    """Run the lowering on random tiles and compare all of C, around the region too."""
    op, ctx = product.op(), context(threads, arch)
    reason = instruction.applies(op, ctx)
    assert reason is None, reason
    place(op, instruction, ctx, fragments)
    block, arrays = filled(op, ctx, threads, values, seed)
    block.run(lowered(op, instruction, ctx))
    want = expected(op, arrays, block)
    same(result(block, op.C.buffer, ctx, threads), want, tolerance, str(product))
    return block


def filled(
    op: Gemm,
    ctx: LowerContext,
    threads: int,
    values: dict[Var, int] | None = None,
    seed: int = 0,
) -> tuple[Block, dict[str, np.ndarray]]:
    """A block with random operands, and the operands."""
    block = Block(threads, THREAD)
    block.env.update(values or {})
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, matrix in (("A", op.A), ("B", op.B), ("C", op.C)):
        buffer = matrix.buffer
        arrays[name] = random_array(rng, tuple(map(int, buffer.shape)), str(buffer.dtype))
        _put(block, buffer, arrays[name], ctx, threads)
    return block, arrays


def _put(block: Block, buffer: Buffer, value: np.ndarray, ctx: LowerContext, threads: int) -> None:
    registers = ctx.registers.get(buffer)
    if registers is not None:
        held = Holding(ctx.fragments[buffer], threads)
        local = block.local(registers)
        local[held.is_held] = value.reshape(-1)[held.elements[held.is_held]]
    elif buffer.scope() == "local":
        block.put(buffer, np.broadcast_to(value, (threads, *value.shape)))
    else:
        block.put(buffer, value.copy())


def result(block: Block, buffer: Buffer, ctx: LowerContext, threads: int) -> np.ndarray:
    """What a buffer holds, gathered from the registers of a fragment."""
    registers = ctx.registers.get(buffer)
    if registers is None:
        array = block.memory[buffer]
        return array[-1] if buffer.scope() == "local" else array
    held = Holding(ctx.fragments[buffer], threads)
    shape = tuple(map(int, buffer.shape))
    out = np.zeros(int(np.prod(shape)), buffer.dtype.as_numpy())
    out[held.elements[held.is_held]] = block.memory[registers][held.is_held]
    same(block.memory[registers][held.is_held], out[held.elements[held.is_held]], 0.0, "replicas")
    return out.reshape(shape)


def expected(op: Gemm, arrays: dict[str, np.ndarray], block: Block) -> np.ndarray:
    """C by NumPy, summed in a wider type."""
    kind = np.int64 if op.C.buffer.dtype.is_int else np.float64

    def part(name: str, matrix: Matrix) -> tuple[np.ndarray, tuple[slice, ...]]:
        starts = [int(evaluate(s, block.env)) for s in matrix.region.starts]
        extents = [int(evaluate(e, block.env)) for e in matrix.region.extents]
        at = tuple(slice(s, s + e) for s, e in zip(starts, extents))
        tile = arrays[name][at].astype(kind)
        return tile.reshape(tile.shape[-2:]), at

    (a, _), (b, _), (c, at) = (part(n, m) for n, m in (("A", op.A), ("B", op.B), ("C", op.C)))
    product = (a.T if op.transpose_A else a) @ (b.T if op.transpose_B else b)
    clear = bool(np.asarray(evaluate(op.clear_accum, block.env)))
    out = arrays["C"].copy()
    out[at] = (product + (0 if clear else c)).reshape(out[at].shape).astype(out.dtype)
    return out


# -- the text ------------------------------------------------------------------------------------


def kernel(product: Product, instruction: Instruction, threads: int, arch: str) -> PrimFunc:
    """Tiles from global memory, the product twice, C back: thread form with shared offsets."""
    op, ctx = product.op(), context(threads, arch)
    assert instruction.applies(op, ctx) is None
    place(op, instruction, ctx)
    body = lowered(op, instruction, ctx)
    params, allocations, moves, offset = [], list[Stmt](), list[Stmt](), 0
    for matrix in (op.A, op.B, op.C):
        buffer = matrix.buffer
        params.append(Buffer(f"{buffer.name}_global", buffer.shape, buffer.dtype))
        if buffer in ctx.registers:
            allocations.append(Allocate(ctx.registers[buffer]))
        elif buffer.is_shared:
            notes: Annotations = ((ARENA_OFFSET, offset),)
            if buffer in ctx.layouts:
                notes += ((LAYOUT, ctx.layouts[buffer]),)
            allocations.append(Allocate(buffer, notes))
            offset += int(buffer.num_elements) * buffer.dtype.bytes
        moves.append(_move(buffer, params[-1], ctx, threads, True))
    sync = Evaluate(Call("sync_threads", (), BOOL))
    again = loop("twice", 2, lambda _: seq([sync, body, sync]))
    out = _move(op.C.buffer, params[2], ctx, threads, False)
    one, others = as_expr(1), (Var("ty"), Var("tz"))
    launch = Launch(
        (Var("bx"),), (one,), (THREAD, *others), (as_expr(threads), one, one),
        seq([*allocations, *moves, again, out]), ((ARENA_BYTES, offset),),
    )  # fmt: skip
    return PrimFunc("product", tuple(params), launch)


def _move(buffer: Buffer, param: Buffer, ctx: LowerContext, threads: int, is_in: bool) -> Stmt:
    """Between a parameter and a tile, element by element."""
    shape = tuple(map(int, buffer.shape))
    registers = ctx.registers.get(buffer)
    if registers is None:
        count, local, kind = int(np.prod(shape)) // threads, buffer, LoopKind.SERIAL
    else:
        held = Holding(ctx.fragments[buffer], threads)
        count, local, kind = held.registers, registers, LoopKind.UNROLLED

    def one(step: Expr) -> Stmt:
        if registers is None:
            at = tuple(unflatten(step * threads + THREAD, shape))
            here = at
        else:
            at, here = tuple(held.element(1, THREAD, step, as_expr(0))), (step,)
        if is_in:
            return BufferStore(local, BufferLoad(param, at), here)
        return BufferStore(param, BufferLoad(local, here), at)

    moves = loop("e", count, one, kind)
    used = threads if registers is None else ctx.fragments[buffer].get_thread_size()
    return moves if used == threads else when(used > THREAD, moves)


def compiled(
    product: Product, instruction: Instruction, threads: int, arch: str = "sm_90a"
) -> KernelUsage:
    """The compiler's report on the kernel; skips where NVRTC is not installed."""
    try:
        nvrtc_version()
    except ToolchainError as error:
        pytest.skip(error.message)
    func = kernel(product, instruction, threads, arch)
    target = Target(f"cuda -arch={arch}")
    passes = PassContext(target)
    for step in (simplify, flatten_buffers):
        func = step(func, passes)
    cubin = NvrtcToolchain(arch).compile(print_cuda(func, target))
    (usage,) = cubin.usage().values()
    return usage
