"""Launches: `with T.Kernel(...)`, and what a body may ask of the launch around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tilelang.errors import ArgumentError, LanguageError, caller_span
from tilelang.ir import annotation as keys
from tilelang.ir.expr import HANDLE, INT32, Call, Expr, StringImm, Var, as_expr, const_value
from tilelang.ir.func import SOURCE_PRELUDE, imported_text
from tilelang.ir.stmt import Evaluate, Launch
from tilelang.language.builder import Builder, annotations_of, current, emit
from tilelang.language.location import argument_span
from tilelang.language.scopes import Scope

DEFAULT_THREADS = 128
_THREAD_NAMES = ("tx", "ty", "tz")
_BLOCK_NAMES = ("bx", "by", "bz")


class KernelLaunchFrame:
    """The context of one device kernel.

    Attributes:
        blocks: block index variables (x, y, z order), as many as grid extents were given.
        threads: thread index variables, always three.
    """

    def __init__(
        self, blocks: Sequence[Any], threads: Any, prelude: str | None, cluster_dims: Any = None
    ) -> None:
        self.builder: Builder = current()
        if len(blocks) > 3:
            raise ArgumentError(f"Kernel: {len(blocks)} grid extents, at most 3 are possible")
        self.grid_extents = [_grid_extent(e, k) for k, e in enumerate(blocks)] or [as_expr(1)]
        self.yields = len(blocks)
        self.thread_extents = _thread_extents(threads)
        self.annotations = annotations_of({keys.PRELUDE: prelude, keys.CLUSTER_DIMS: cluster_dims})
        self.blocks = [Var(n, e.dtype) for n, e in zip(_BLOCK_NAMES, self.grid_extents)]
        self.threads = [Var(n, INT32) for n in _THREAD_NAMES]
        self.span = caller_span()
        self._context: Any = None
        self._scope: Scope | None = None

    @staticmethod
    def Current() -> KernelLaunchFrame | None:
        """The launch whose body is being traced, if any."""
        return current().launches[-1] if current().launches else None

    def __enter__(self) -> Any:
        builder = self.builder
        if builder.on_launch is not None:
            builder.on_launch()
        if builder.launches:
            raise LanguageError("Kernel: launches cannot be nested", self.span)
        for var in self.blocks[: self.yields]:
            builder.name_later(var)
        builder.launches.append(self)
        self._context = builder.block("with T.Kernel")
        self._scope = self._context.__enter__()
        return self.blocks[0] if self.yields == 1 else tuple(self.blocks[: self.yields])

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        self._context.__exit__(kind, value, traceback)
        self.builder.launches.pop()
        if kind is not None:
            return
        assert self._scope is not None
        self.builder.emit(
            Launch(
                tuple(self.blocks),
                tuple(self.grid_extents),
                tuple(self.threads),
                tuple(as_expr(t) for t in self.thread_extents),
                self._scope.body(),
                self.annotations,
                span=self.span,
            )
        )

    @property
    def num_threads(self) -> Any:
        """Threads per block: the product of the extents."""
        total = 1
        for extent in self.thread_extents:
            total = total * extent
        return total

    def get_thread_binding(self, dim: int = 0) -> Var:
        return self.threads[dim]

    def get_thread_bindings(self) -> list[Var]:
        return list(self.threads)

    def get_thread_extent(self, dim: int = 0) -> Any:
        return self.thread_extents[dim]

    def get_thread_extents(self) -> list[Any]:
        return list(self.thread_extents)

    def get_num_threads(self) -> Any:
        return self.num_threads

    def get_block_binding(self, dim: int = 0) -> Var:
        return self.blocks[dim]

    def get_block_bindings(self) -> list[Var]:
        return list(self.blocks)

    def get_block_extent(self, dim: int = 0) -> Any:
        number = const_value(self.grid_extents[dim])
        return number if number is not None else self.grid_extents[dim]

    def get_block_extents(self) -> list[Any]:
        return [self.get_block_extent(k) for k in range(len(self.grid_extents))]


def _grid_extent(value: Any, position: int) -> Expr:
    extent = as_expr(value)
    if not extent.dtype.is_int:
        raise ArgumentError(
            f"Kernel: grid extent {position} is {extent.dtype}, expected an integer",
            argument_span(position),
        )
    number = const_value(extent)
    if number is not None and number < 0:
        raise ArgumentError(
            f"Kernel: grid extent {position} is {number}, expected 0 or more",
            argument_span(position),
        )
    return extent


def _thread_extents(threads: Any) -> list[Any]:
    if threads is None:
        threads = DEFAULT_THREADS
    given = list(threads) if isinstance(threads, (list, tuple)) else [threads]
    if len(given) > 3:
        raise ArgumentError(
            f"Kernel: {len(given)} thread extents, at most 3 are possible", argument_span("threads")
        )
    out: list[Any] = []
    for extent in given:
        number = const_value(extent)
        if number is not None and (number <= 0 or isinstance(number, float)):
            raise ArgumentError(
                f"Kernel: threads is {extent}, expected positive integers", argument_span("threads")
            )
        out.append(int(number) if number is not None else extent)
    return out + [1] * (3 - len(out))


def Kernel(
    *blocks: Any, threads: Any = None, is_cpu: bool = False, prelude: str | None = None
) -> KernelLaunchFrame:
    """Launch a grid of 1 to 3 extents; the body is the program of one block.

    Args:
        blocks: grid extents (x, y, z), integers or expressions; none means one block.
        threads: threads per block, an int or up to three (default 128).
        is_cpu: accepted; whether there are threads is the target's matter.
        prelude: source text in front of the generated device code.

    Yields the block index, or a tuple of them.

    Raises:
        ArgumentError: for non-positive constant thread counts or negative grid extents.
    """
    del is_cpu
    return KernelLaunchFrame(blocks, threads, prelude)


def ClusterKernel(
    *blocks: Any, cluster_dims: Any, threads: Any = None, prelude: str | None = None
) -> KernelLaunchFrame:
    """As `Kernel`, with blocks grouped into clusters of `cluster_dims` (an int, or up to three)."""
    return KernelLaunchFrame(blocks, threads, prelude, _cluster(cluster_dims))


def _cluster(cluster_dims: Any) -> tuple[int, ...]:
    dims = list(cluster_dims) if isinstance(cluster_dims, (list, tuple)) else [cluster_dims]
    if any(not isinstance(d, int) or d <= 0 for d in dims) or len(dims) > 3:
        raise ArgumentError(
            f"cluster_dims is {cluster_dims!r}, expected up to 3 positive integers",
            argument_span("cluster_dims"),
        )
    return tuple(dims + [1] * (3 - len(dims)))


def _launch(what: str) -> KernelLaunchFrame:
    frame = KernelLaunchFrame.Current()
    if frame is None:
        raise LanguageError(f"{what} outside a `with T.Kernel(...)` block")
    return frame


def hardware_axis(tag: str) -> tuple[Var, Any] | None:
    """Index and extent of `threadIdx.y`, `blockIdx.x`, ...; `None` where there is none."""
    kind, _, letter = tag.partition(".")
    frame, axis = _launch("thread_binding"), "xyz".find(letter or "?")
    found = {
        "threadIdx": (frame.threads, frame.thread_extents),
        "blockIdx": (frame.blocks, frame.grid_extents),
    }.get(kind)
    if found is None or not 0 <= axis < len(found[0]):
        return None
    return found[0][axis], found[1][axis]


def get_thread_binding(dim: int = 0) -> Var:
    """Thread index along x (0), y (1) or z (2)."""
    return _launch("get_thread_binding").threads[dim]


def get_thread_bindings() -> list[Var]:
    """All three thread index variables."""
    return list(_launch("get_thread_bindings").threads)


def get_block_binding(dim: int = 0) -> Var:
    """Block index along axis `dim`."""
    return _launch("get_block_binding").blocks[dim]


def get_block_bindings() -> list[Var]:
    """The block index variables."""
    return list(_launch("get_block_bindings").blocks)


def get_thread_extent(dim: int = 0) -> Any:
    """Threads of the block along axis `dim`."""
    return _launch("get_thread_extent").thread_extents[dim]


def get_thread_extents() -> list[Any]:
    """Threads of the block along all three axes."""
    return list(_launch("get_thread_extents").thread_extents)


def get_block_extent(dim: int = 0) -> Any:
    """Blocks of the grid along axis `dim`."""
    return _launch("get_block_extent").get_block_extent(dim)


def get_block_extents() -> list[Any]:
    """Blocks of the grid along all axes."""
    return _launch("get_block_extents").get_block_extents()


def import_source(text: str | None) -> None:
    """Put device source text (functions for `call_extern`) before the kernels; `None`: nothing."""
    if text is not None:
        builder = current()
        before = builder.attributes.get(SOURCE_PRELUDE, ())
        builder.attributes[SOURCE_PRELUDE] = (*before, imported_text(text, caller_span()))


def CUDASourceCodeKernel(
    *blocks: Any,
    threads: Any = None,
    source_code_or_path: str,
    entry_name: str = "main_kernel",
    cluster_dims: Any = None,
    prelude: str | None = None,
) -> None:
    """A launch whose body is CUDA text (or a file of it) with the kernel `entry_name`.

    The kernel's parameters are those of the PrimFunc, in order. Only CUDA targets can run it.
    """
    text = source_code_or_path
    if "\n" not in text and Path(text).is_file():
        text = Path(text).read_text(encoding="utf-8")
    dims = None if cluster_dims is None else _cluster(cluster_dims)
    with KernelLaunchFrame(blocks, threads, prelude, dims):
        source = Call("cuda_source_kernel", (StringImm(text), StringImm(entry_name)), HANDLE)
        emit(Evaluate(source, span=caller_span()))
