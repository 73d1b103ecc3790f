"""The passes, in order. Tile IR in, thread IR out; nothing calls a pass but `run`.

Each entry has a name: the dump's file name, the timer's row, and the word in an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Literal, TypeAlias

from tilelang.env import env
from tilelang.ir.func import PrimFunc
from tilelang.ir.record import record
from tilelang.transform.context import PassContext

Form: TypeAlias = Literal["tile", "thread"]
PassFunction: TypeAlias = "Callable[[PrimFunc, PassContext], PrimFunc]"


@record
class Pass:
    """One step. `path` is `"module:function"`, loaded when first run."""

    name: str
    path: str
    targets: tuple[str, ...] | None = None  # kinds it runs for; None: all
    form: Form = "tile"  # form of what it leaves: "tile" or "thread"

    def load(self) -> PassFunction:
        module, _, function = self.path.partition(":")
        return getattr(import_module(module), function)


_CPU = ("c",)
_GPU = ("cuda",)
PIPELINE: tuple[Pass, ...] = (
    Pass("check_tile_program", "tilelang.transform.check_tile_program:check_tile_program"),
    Pass("wrap_negative_indices", "tilelang.transform.wrap_negative_indices:wrap_negative_indices"),
    Pass("simplify", "tilelang.transform.simplify:simplify"),
    Pass("bind_threads", "tilelang.transform.thread_grid:bind_threads", _GPU),
    Pass("rasterize_blocks", "tilelang.transform.rasterize_blocks:rasterize_blocks", _GPU),
    Pass("pipeline_loops", "tilelang.transform.pipeline_loops:pipeline_loops", _GPU),
    Pass("expand_tile_ops", "tilelang.transform.expand_tile_ops:expand_tile_ops", _GPU),
    Pass("infer_fragments", "tilelang.transform.infer_fragments:infer_fragments", _GPU),
    Pass("infer_layouts", "tilelang.transform.infer_layouts:infer_layouts", _CPU),
    Pass("lower_tile_ops", "tilelang.transform.lower_tile_ops:lower_tile_ops", _CPU, "thread"),
    Pass("lower_threads", "tilelang.transform.lower_threads:lower_threads", _GPU, "thread"),
    Pass("lower_allreduce", "tilelang.transform.thread_allreduce:lower_allreduce", _GPU, "thread"),
    Pass("rotate_products", "tilelang.transform.rotate_products:rotate_products", _GPU, "thread"),
    Pass("legalize_memory", "tilelang.transform.legalize_memory:legalize_memory", form="thread"),
    Pass(
        "vectorize_accesses",
        "tilelang.transform.vectorize_accesses:vectorize_accesses",
        _GPU,
        "thread",
    ),
    Pass("spread_threads", "tilelang.transform.spread_threads:spread_threads", _CPU, "thread"),
    Pass("sanitize", "tilelang.transform.sanitize:sanitize", _CPU, "thread"),
    Pass("stream_stores", "tilelang.transform.stream_stores:stream_stores", _CPU, "thread"),
    Pass("fuse_loops", "tilelang.transform.fuse_loops:fuse_loops", _CPU, "thread"),
    Pass(
        "scalarize_fragments",
        "tilelang.transform.scalarize_fragments:scalarize_fragments",
        _CPU,
        "thread",
    ),
    Pass("prefetch_blocks", "tilelang.transform.prefetch_blocks:prefetch_blocks", _CPU, "thread"),
    Pass("simplify_threads", "tilelang.transform.simplify:simplify", form="thread"),
    Pass("plan_memory", "tilelang.transform.plan_memory:plan_memory", _CPU, "thread"),
    Pass(
        "plan_shared_memory",
        "tilelang.transform.plan_shared_memory:plan_shared_memory",
        _GPU,
        "thread",
    ),
    Pass("insert_barriers", "tilelang.transform.insert_barriers:insert_barriers", _GPU, "thread"),
    Pass("check_barriers", "tilelang.transform.check_barriers:check_barriers", _GPU, "thread"),
    Pass("flatten_buffers", "tilelang.transform.flatten_buffers:flatten_buffers", form="thread"),
    Pass("split_lanes", "tilelang.transform.split_lanes:split_lanes", form="thread"),
    Pass("simplify_indices", "tilelang.transform.simplify:simplify", _GPU, "thread"),
)


def passes_for(context: PassContext) -> list[Pass]:
    """The entries that run for the context's target and options."""
    return [
        p for p in PIPELINE
        if (p.targets is None or context.target.kind in p.targets)
        and (p.name != "sanitize" or context.sanitize)
    ]  # fmt: skip


def run(func: PrimFunc, context: PassContext) -> PrimFunc:
    """All passes over one function. Dumps and verifies where the environment asks for it."""
    dump = Path(env.TILELANG_DUMP_IR) if env.TILELANG_DUMP_IR else None
    _dump(dump, 0, "traced", func)
    for number, entry in enumerate(passes_for(context), 1):
        started = time.perf_counter()
        func = entry.load()(func, context)
        context.timings[entry.name] = (
            context.timings.get(entry.name, 0.0) + time.perf_counter() - started
        )
        _dump(dump, number, entry.name, func)
        if env.TILELANG_VERIFY:
            _verify(func, entry)
    return func


def _verify(func: PrimFunc, entry: Pass) -> None:
    from tilelang.ir.verify import verify  # a debugging aid, not loaded otherwise

    verify(func, form=entry.form)


def _dump(folder: Path | None, number: int, name: str, func: PrimFunc) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number:02}_{name}.py").write_text(func.script(), encoding="utf-8")
