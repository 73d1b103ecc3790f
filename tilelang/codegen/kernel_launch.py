"""The device kernels of a function, as the host side has to launch them.

In: the flattened PrimFunc of the last pass, for a target with device kernels. Out: one
`KernelLaunch` per `Launch` statement, in program order. The printer of the kernels and the printer
of the host stub both read it, so names and parameter order agree. It prints nothing.
"""

from __future__ import annotations

from tilelang.codegen.c import scalar_type
from tilelang.codegen.c_launch import KernelFacts, kernel_facts
from tilelang.errors import Span, TargetError
from tilelang.ir.annotation import ARENA_BYTES
from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import Call, Expr, StringImm, Var, as_expr, const_value
from tilelang.ir.func import PrimFunc
from tilelang.ir.record import record
from tilelang.ir.stmt import Launch, annotation
from tilelang.ir.visitor import walk

SOURCE_KERNEL = "cuda_source_kernel"  # Call(text, entry): a launch whose body is the user's text
POINTER = "void *"


@record
class KernelArgument:
    """One parameter of a kernel.

    Attributes:
        var: the pointer of a parameter or workspace, a scalar parameter, a dynamic symbol, or a
            name bound on the host side.
        is_pointer: whether a device address is passed.
        c_type: C type of what the launch passes: `void *`, or that of the scalar. Floats narrower
            than 32 bits are passed as `float`.
    """

    var: Var
    is_pointer: bool
    c_type: str


@record(eq=False)
class KernelLaunch:
    """One kernel and how it is launched.

    Attributes:
        name: of the `extern "C"` kernel.
        params: in the order of the kernel's parameters.
        grid: blocks along x, y, z; expressions of the function's symbols.
        block: threads along x, y, z.
        shared_bytes: dynamic shared memory of a block.
        cooperative: whether all blocks must run at the same time.
        span: of the user's `T.Kernel` line.
        node: the launch statement.
        facts: what its body needs from outside.
    """

    name: str
    params: tuple[KernelArgument, ...]
    grid: tuple[Expr, Expr, Expr]
    block: tuple[int, int, int]
    shared_bytes: int
    cooperative: bool
    span: Span | None
    node: Launch
    facts: KernelFacts

    @property
    def num_threads(self) -> int:
        """Threads of a block."""
        x, y, z = self.block
        return x * y * z


def kernel_launches(func: PrimFunc) -> list[KernelLaunch]:
    """The kernels of `func` in program order: `<name>_kernel`, `<name>_kernel_1`, ...

    A launch whose body is CUDA text keeps the text's own kernel name; its parameters are those of
    the function.

    Raises:
        TargetError: at the launch, when its number of threads is not constant.
    """
    launches: list[KernelLaunch] = []
    for node in walk(func.body):
        if isinstance(node, Launch):
            name = f"{func.name}_kernel" + (f"_{len(launches)}" if launches else "")
            launches.append(_describe(func, node, name))
    return launches


def source_kernel(launch: Launch) -> tuple[str, str] | None:
    """Text and entry name, where the body of a launch is the user's CUDA text."""
    for node in walk(launch.body):
        if isinstance(node, Call) and node.op == SOURCE_KERNEL:
            text, entry = node.args
            assert isinstance(text, StringImm) and isinstance(entry, StringImm)
            return text.value, entry.value
    return None


def _describe(func: PrimFunc, node: Launch, name: str) -> KernelLaunch:
    facts = kernel_facts(func, node)
    source = source_kernel(node)
    if source is None:
        params = [_argument(p.data) for p in facts.pointers] + [_argument(v) for v in facts.scalars]
    else:
        name = source[1]
        params = [_argument(p.data if isinstance(p, Buffer) else p) for p in func.params]
    bytes_used = annotation(node.annotations, ARENA_BYTES, 0)
    assert isinstance(bytes_used, int), "plan_shared_memory gives a number"
    waits_for_grid = any(isinstance(n, Call) and n.op == "sync_grid" for n in walk(node.body))
    return KernelLaunch(
        name, tuple(params), _grid(node), _block(node), bytes_used, waits_for_grid,
        node.span, node, facts,
    )  # fmt: skip


def _argument(var: Var) -> KernelArgument:
    is_pointer = var.dtype.kind == "handle"
    return KernelArgument(var, is_pointer, POINTER if is_pointer else scalar_type(var.dtype))


def _grid(node: Launch) -> tuple[Expr, Expr, Expr]:
    x, y, z = (*node.grid_extents, *(as_expr(1) for _ in range(3 - len(node.grid_extents))))
    return x, y, z


def _block(node: Launch) -> tuple[int, int, int]:
    extents = [const_value(e) for e in node.thread_extents]
    if any(not isinstance(e, int) for e in extents):
        shown = ", ".join(map(str, node.thread_extents))
        raise TargetError(
            f"Kernel: threads is ({shown}); the number of threads is fixed when a kernel is "
            "compiled", node.span,
        )  # fmt: skip
    x, y, z = (int(e) for e in extents if e is not None)
    return x, y, z
