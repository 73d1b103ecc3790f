"""What one thread does: barriers, votes, shuffles, atomics on elements, printing, random numbers.

Kernels written with tile operations rarely need these. On targets without threads in lockstep the
ones that cannot mean anything are errors at their line.
"""

from __future__ import annotations

from typing import Any

from tilelang.errors import (
    ArgumentError,
    ArgumentTypeError,
    DTypeError,
    Note,
    ScopeError,
    caller_span,
)
from tilelang.ir import stmt as _stmt
from tilelang.ir.buffer import FRAGMENT, Buffer
from tilelang.ir.dtype import dtype as DType
from tilelang.ir.expr import (
    HANDLE,
    BufferLoad,
    BufferRegion,
    Call,
    Expr,
    StringImm,
    as_condition,
    as_expr,
    call,
    cast,
)
from tilelang.ir.stmt import Evaluate
from tilelang.language.builder import current, emit
from tilelang.language.location import argument_span
from tilelang.language.reference import Reference

_VOID = "handle"


def _do(op: str, *args: Any) -> None:
    """Emit an operation that is done for its effect."""
    emit(Evaluate(call(op, *args, dtype=_VOID), span=caller_span()))


# -- barriers and votes --------------------------------------------------------------------------


def sync_threads(barrier_id: int | None = None, arrive_count: int | None = None) -> None:
    """Wait for all threads of the block, or for `arrive_count` of them at barrier `barrier_id`."""
    args = [a for a in (barrier_id, arrive_count) if a is not None]
    if arrive_count is not None and barrier_id is None:
        raise ArgumentError("sync_threads: arrive_count needs a barrier_id")
    _do("sync_threads", *args)


def sync_warp(mask: Any = None) -> None:
    """Wait for the lanes of the warp (all, or those in `mask`)."""
    _do("sync_warp", *([] if mask is None else [mask]))


def sync_grid() -> None:
    """Wait for all blocks of the grid; the launch becomes cooperative."""
    _do("sync_grid")


def sync_global() -> None:
    """Wait for all blocks, through a counter in global memory."""
    _do("sync_grid")


def named_barrier_arrive(id: int, count: int) -> None:
    """Arrive at a named barrier without waiting."""
    _do("named_barrier_arrive", id, count)


def syncthreads_count(predicate: Any) -> Expr:
    """Barrier; the number of threads whose predicate holds."""
    return call("syncthreads_count", as_condition(predicate), dtype="int32")


def syncthreads_and(predicate: Any) -> Expr:
    """Barrier; whether the predicate holds for all threads."""
    return call("syncthreads_and", as_condition(predicate), dtype="int32")


def syncthreads_or(predicate: Any) -> Expr:
    """Barrier; whether the predicate holds for any thread."""
    return call("syncthreads_or", as_condition(predicate), dtype="int32")


_FULL = 0xFFFFFFFF


def _mask(mask: Any) -> Expr:
    return cast(_FULL if mask is None else mask, "uint32")


def any_sync(predicate: Any, mask: Any = None) -> Expr:
    """Whether the predicate holds for any lane of the mask."""
    return call("any_sync", _mask(mask), as_condition(predicate), dtype="int32")


def all_sync(predicate: Any, mask: Any = None) -> Expr:
    """Whether the predicate holds for all lanes of the mask."""
    return call("all_sync", _mask(mask), as_condition(predicate), dtype="int32")


def ballot_sync(predicate: Any, mask: Any = None) -> Expr:
    """One bit per lane whose predicate holds."""
    return call("ballot_sync", _mask(mask), as_condition(predicate), dtype="uint32")


def ballot(predicate: Any) -> Expr:
    """One bit per lane of the whole warp whose predicate holds."""
    return ballot_sync(predicate)


def activemask() -> Expr:
    """The lanes that are active here."""
    return call("activemask", dtype="uint32")


def match_any_sync(value: Any, mask: Any = None) -> Expr:
    """The lanes that hold the same value as this one."""
    return call("match_any_sync", _mask(mask), value, dtype="uint32")


def match_all_sync(value: Any, mask: Any = None) -> Expr:
    """The mask when all its lanes hold the same value, otherwise 0."""
    return call("match_all_sync", _mask(mask), value, dtype="uint32")


def _shuffle(op: str, value: Any, lane: Any, width: int, mask: Any) -> Expr:
    x = as_expr(value)
    return call(op, _mask(mask), x, cast(lane, "int32"), width, dtype=x.dtype)


def shfl_xor(value: Any, delta: Any, width: int = 32, mask: Any = None) -> Expr:
    """The value of the lane whose index differs by XOR with `delta`."""
    return _shuffle("shfl_xor", value, delta, width, mask)


def shfl_up(value: Any, delta: Any, width: int = 32, mask: Any = None) -> Expr:
    """The value of the lane `delta` below."""
    return _shuffle("shfl_up", value, delta, width, mask)


def shfl_down(value: Any, delta: Any, width: int = 32, mask: Any = None) -> Expr:
    """The value of the lane `delta` above."""
    return _shuffle("shfl_down", value, delta, width, mask)


def shfl_sync(value: Any, srcLane: Any, width: int = 32, mask: Any = None) -> Expr:
    """The value of lane `srcLane`."""
    return _shuffle("shfl", value, srcLane, width, mask)


def tvm_warp_shuffle(
    mask: Any, value: Any, lane: Any, width: int = 32, warp_size: int = 32
) -> Expr:
    """The value of lane `lane` (argument order of the low-level form)."""
    del warp_size
    return _shuffle("shfl", value, lane, width, mask)


def _linear_thread() -> Expr:
    from tilelang.language.kernel import get_thread_bindings, get_thread_extents

    x, y, z = get_thread_bindings()
    nx, ny, nz = get_thread_extents()
    linear: Expr = x
    if ny != 1 or nz != 1:
        linear = x + nx * (y + ny * z)
    return linear


def get_lane_idx(warp_size: int | None = None) -> Expr:
    """Index of the thread within its warp."""
    return _linear_thread() % (warp_size or 32)


def get_warp_idx(warp_size: int | None = None) -> Expr:
    """Index of the thread's warp."""
    return _linear_thread() // (warp_size or 32)


def get_warp_idx_sync(warp_size: int | None = None) -> Expr:
    """Index of the thread's warp, known to be the same in all its lanes."""
    return get_warp_idx(warp_size)


def get_warp_group_idx(warp_size: int | None = None, warps_per_group: int | None = None) -> Expr:
    """Index of the thread's warp group."""
    return _linear_thread() // ((warp_size or 32) * (warps_per_group or 4))


def shuffle_elect(extent: int) -> Expr:
    """True for exactly one thread of each group of `extent` threads; 0: of the block."""
    thread = _linear_thread()
    return thread == 0 if extent == 0 else thread % extent == 0


def warp_reduce(op: str, value: Any) -> Expr:
    x = as_expr(value)
    return call(f"warp_reduce_{op}", x, dtype=x.dtype)


def warp_reduce_sum(value: Any) -> Expr:
    """Every lane receives the sum over the warp."""
    return warp_reduce("sum", value)


def warp_reduce_max(value: Any) -> Expr:
    """Every lane receives the maximum over the warp."""
    return warp_reduce("max", value)


def warp_reduce_min(value: Any) -> Expr:
    """Every lane receives the minimum over the warp."""
    return warp_reduce("min", value)


def warp_reduce_bitand(value: Any) -> Expr:
    """Every lane receives the bitwise and over the warp."""
    return warp_reduce("bitand", value)


def warp_reduce_bitor(value: Any) -> Expr:
    """Every lane receives the bitwise or over the warp."""
    return warp_reduce("bitor", value)


# -- atomics on one element ----------------------------------------------------------------------

MEMORY_ORDERS = {"relaxed": 0, "consume": 1, "acquire": 2, "release": 3, "acq_rel": 4, "seq_cst": 5}


def memory_order(name: str | None, allowed: tuple[str, ...] = tuple(MEMORY_ORDERS)) -> Expr:
    """The number of a memory order.

    Raises:
        ArgumentError: for an unknown one, or one the operation cannot have.
    """
    order = "relaxed" if name is None else name
    if order not in allowed:
        raise ArgumentError(
            f"memory_order is {order!r}, expected one of {', '.join(allowed)}",
            argument_span("memory_order"),
        )
    return as_expr(MEMORY_ORDERS[order])


def element(function: str, place: Any) -> BufferLoad:
    """The one element of global or shared memory that an atomic works on."""
    if isinstance(place, Reference):
        place = place.as_load()
    if isinstance(place, BufferRegion) and all(
        int(e) == 1 for e in place.extents if isinstance(e, Expr)
    ):
        place = place.as_load()
    if isinstance(place, Buffer) and place.num_elements == 1:
        place = place.load(*[0] * place.ndim)
    if not isinstance(place, BufferLoad):
        raise ArgumentTypeError(
            f"{function}: expected an element such as `C[i, j]`, got {place!r}", argument_span(0)
        )
    if place.buffer.scope() == FRAGMENT or place.buffer.is_var:
        scope = place.buffer.scope().removeprefix("local.")
        raise ScopeError(
            f"{function}: `{place.buffer.name}` is a {scope}; "
            "atomics work on global and shared memory",
            argument_span(0),
            notes=[Note(place.buffer.span, f"`{place.buffer.name}` comes from here")]
            if place.buffer.span
            else (),
        )
    return place


def atomic_element(
    op: str, dst: Any, value: Any, order: str | None, return_prev: bool
) -> Expr | None:
    """`dst = dst op value` in one step; gives the value before when asked."""
    place = element(f"atomic_{op}", dst)
    kind = place.buffer.dtype
    made = Call(f"atomic_{op}", (place, cast(value, kind), memory_order(order)), kind)
    if return_prev:
        return made
    emit(Evaluate(made, span=caller_span()))
    return None


def atomic_or(dst: Any, value: Any, memory_order: str | None = None) -> None:
    """`dst |= value` in one step (integers)."""
    if not element("atomic_or", dst).buffer.dtype.is_int:
        raise DTypeError("atomic_or: expected an integer buffer", argument_span(0))
    atomic_element("or", dst, value, memory_order, False)


def _vector_add(lanes: int, dst: Any, value: Any, return_prev: bool) -> Expr | None:
    place, source = element(f"atomic_addx{lanes}", dst), as_expr(value)
    kind = place.buffer.dtype
    if not kind.is_float:
        raise DTypeError(
            f"atomic_addx{lanes}: {kind} elements, expected a float type", argument_span(0)
        )
    values = [source]
    if isinstance(source, BufferLoad) and source.dtype.lanes == 1:
        *outer, last = source.indices
        values = [BufferLoad(source.buffer, (*outer, last + k)) for k in range(lanes)]
    elif source.dtype.lanes == lanes:
        values = [call("extract_lane", source, k, dtype=source.dtype.element) for k in range(lanes)]
    if len(values) != lanes:
        raise ArgumentTypeError(
            f"atomic_addx{lanes}: value must name the first of {lanes} elements, got `{source}`"
        )
    *outer, last = place.indices
    olds = []
    for k, part in enumerate(values):
        target = BufferLoad(place.buffer, (*outer, last + k))
        olds.append(Call("atomic_add", (target, cast(part, kind), memory_order(None)), kind))
    if return_prev:
        return call("make_vector", *olds, dtype=kind.with_lanes(lanes))
    for old in olds:
        emit(Evaluate(old, span=caller_span()))
    return None


def atomic_addx2(dst: Any, value: Any, return_prev: bool = False) -> Expr | None:
    """Add two adjacent elements; both arguments name the first of them."""
    return _vector_add(2, dst, value, return_prev)


def atomic_addx4(dst: Any, value: Any, return_prev: bool = False) -> Expr | None:
    """Add four adjacent elements; both arguments name the first of them."""
    return _vector_add(4, dst, value, return_prev)


def atomic_load(src: Any, memory_order: str = "seq_cst") -> Expr:
    """Read one element in one step."""
    place = element("atomic_load", src)
    order = _order(memory_order, ("relaxed", "consume", "acquire", "seq_cst"))
    return Call("atomic_load", (place, order), place.buffer.dtype)


def atomic_store(dst: Any, src: Any, memory_order: str = "seq_cst") -> None:
    """Write one element in one step."""
    place = element("atomic_store", dst)
    order = _order(memory_order, ("relaxed", "release", "seq_cst"))
    kind = place.buffer.dtype
    emit(
        Evaluate(Call("atomic_store", (place, cast(src, kind), order), HANDLE), span=caller_span())
    )


_order = memory_order  # a parameter of the functions above hides the name


# -- calls, printing, assertions -----------------------------------------------------------------


def call_extern(*args: Any, dtype: Any = None) -> Expr:
    """`call_extern(dtype, name, *args)`, or `call_extern(name, *args, dtype=dtype)`.

    Call a function of the imported device source; buffers pass as pointers to element 0.
    """
    return _external("call_extern", args, dtype)


def call_pure_extern(*args: Any, dtype: Any = None) -> Expr:
    """As `call_extern`, for functions without effects."""
    return _external("call_pure_extern", args, dtype)


def _external(op: str, args: tuple[Any, ...], dtype: Any) -> Expr:
    given = args if dtype is None else (dtype, *args)
    if len(given) < 2 or not isinstance(given[1], str):
        raise ArgumentTypeError(f"{op}: expected a dtype, the function's name, its arguments")
    return Call(op, (StringImm(given[1]), *map(external_argument, given[2:])), DType(given[0]))


def call_intrin(dtype: Any, name: str, *args: Any) -> Expr:
    """The operation `name` of the IR."""
    text = getattr(name, "name", name)
    return Call(
        str(text).removeprefix("tir.").removeprefix("tl."),
        tuple(map(external_argument, args)),
        DType(dtype),
    )


def external_argument(value: Any) -> Expr:
    if isinstance(value, Buffer) and not value.is_var:
        return address_of(value.load(*[0] * value.ndim))
    if isinstance(value, BufferRegion):
        return address_of(BufferLoad(value.buffer, value.starts))
    return as_expr(value)


def address_of(place: Any) -> Expr:
    """Pointer to an element (`A[i, j]`), to the first element of a buffer or of a region."""
    if isinstance(place, Buffer):
        place = place.load(*[0] * place.ndim)
    if isinstance(place, BufferRegion):
        place = BufferLoad(place.buffer, place.starts)
    if not isinstance(place, BufferLoad):
        raise ArgumentTypeError(
            f"address_of: expected an element such as `A[i]`, got {place!r}", argument_span(0)
        )
    return Call("address_of", (place,), HANDLE)


def access_ptr(
    base: Any,
    access_type: str = "r",
    *extents: Any,
    offset: Any = 0,
    extent: Any = None,
    ignore_last_ndim: int = 0,
) -> Expr:
    """Pointer to a tile operand for an external call that reads, writes (`"r"`, `"w"`) or both."""
    if access_type not in ("r", "w", "rw"):
        raise ArgumentError(
            f"access_ptr: access_type is {access_type!r}, expected 'r', 'w' or 'rw'",
            argument_span(1),
        )
    del (
        extents,
        extent,
        ignore_last_ndim,
    )  # how much is touched matters to targets that order memory
    pointer = address_of(base)
    place = pointer.args[0] if isinstance(pointer, Call) else None
    assert isinstance(place, BufferLoad)
    *outer, last = place.indices
    return Call(
        "access_ptr",
        (BufferLoad(place.buffer, (*outer, last + offset)), StringImm(access_type)),
        HANDLE,
    )


def evaluate(value: Any) -> None:
    """Evaluate an expression for its effect."""
    emit(Evaluate(as_expr(value), span=caller_span()))


def print(obj: Any = None, msg: str = "", warp_group_id: int = 0, warp_id: int = 0) -> None:
    """Print a value with the block and thread that has it, or a whole buffer once; `msg` first."""
    if isinstance(obj, Buffer) and not obj.is_var:
        emit(
            Evaluate(
                Call("print_buffer", (address_of(obj), StringImm(msg)), DType(_VOID)),
                span=caller_span(),
            )
        )
        return
    del warp_group_id, warp_id  # one thread of the block prints a buffer; which one does not show
    if obj is None:
        _do("print_message", StringImm(msg))
        return
    value = as_expr(obj)
    if isinstance(value, StringImm):
        _do("print_message", StringImm(msg + value.value))
        return
    emit(
        Evaluate(
            Call("print_value", (value, StringImm(msg), StringImm(str(value))), DType(_VOID)),
            span=caller_span(),
        )
    )


def device_assert(condition: Any, msg: str = "", no_stack_info: bool = False) -> None:
    """Stop the kernel with the message and this line when the condition is false."""
    del no_stack_info
    emit(_stmt.Assert(as_condition(condition), msg, span=caller_span()))


def Assert(condition: Any, message: str = "") -> None:
    """The same as `assert condition, message` in a kernel."""
    device_assert(condition, message)


# -- random numbers ------------------------------------------------------------------------------

_GENERATORS = ("curandStatePhilox4_32_10_t", "curandStateXORWOW_t", "curandStateMRG32k3a_t")


def rng_init(seed: Any, seq: Any = None, off: Any = 0, generator: str = _GENERATORS[0]) -> None:
    """Start this thread's random numbers; by default each thread has its own sequence."""
    if generator not in _GENERATORS:
        raise ArgumentError(
            f"rng_init: generator is {generator!r}, expected one of {', '.join(_GENERATORS)}",
            argument_span("generator"),
        )
    if seq is None:
        from tilelang.language.kernel import (
            get_block_binding,
            get_thread_binding,
            get_thread_extent,
        )

        seq = get_thread_binding() + get_block_binding() * get_thread_extent()
    _do(
        "rng_init",
        cast(seed, "uint64"),
        cast(seq, "uint64"),
        cast(off, "uint64"),
        StringImm(generator),
    )


def rng_rand() -> Expr:
    """The next 32 random bits of this thread, as uint32."""
    return call("rng_rand", dtype="uint32")


def rng_rand_float(bit: int = 32, dist: str = "uniform") -> Expr:
    """The next random `bit`-bit float: `uniform` in (0, 1] or `normal` (mean 0, deviation 1)."""
    if dist not in ("uniform", "normal"):
        raise ArgumentError(
            f"rng_rand_float: dist is {dist!r}, expected 'uniform' or 'normal'",
            argument_span("dist"),
        )
    if bit not in (32, 64):
        raise ArgumentError(
            f"rng_rand_float: bit is {bit!r}, expected 32 or 64", argument_span("bit")
        )
    return call("rng_rand_float", StringImm(dist), dtype=f"float{bit}")


def loop_break() -> None:
    """`break`, as a call."""
    current().break_()


def thread_return() -> Expr:
    """End this thread's part of the kernel."""
    return call("thread_return", dtype=_VOID)


def __ldg(x: Any, index: Any = None) -> Expr:  # pyright: ignore[reportUnusedFunction]
    """Read an element that nothing writes while the kernel runs."""
    place = x[index] if isinstance(x, Buffer) and index is not None else x
    return as_expr(place)


def dp4a(A: Any, B: Any, C: Any) -> None:
    """`C += sum(A[k] * B[k] for k in 0..3)`: int8 operands, an int32 accumulator.

    Raises:
        DTypeError: for other dtypes.
    """
    places = [_first(v) for v in (A, B, C)]
    for name, place, expected in zip(
        "ABC", places, (("int8", "uint8"), ("int8", "uint8"), ("int32", "uint32"))
    ):
        if place.buffer.dtype not in expected:
            raise DTypeError(
                f"dp4a: {name} is {place.buffer.dtype}, expected {' or '.join(expected)}"
            )
    a, b, c = places
    total: Expr = c
    for k in range(4):
        total = total + cast(_next(a, k), c.buffer.dtype) * cast(_next(b, k), c.buffer.dtype)
    current().emit_store(c.buffer, c.indices, total)


def _first(value: Any) -> BufferLoad:
    if isinstance(value, Buffer):
        return BufferLoad(value, tuple(as_expr(0) for _ in value.shape))
    if isinstance(value, BufferRegion):
        return BufferLoad(value.buffer, value.starts)
    if isinstance(value, BufferLoad):
        return value
    raise ArgumentTypeError(f"dp4a: expected a buffer or an element, got {value!r}")


def _next(place: BufferLoad, k: int) -> BufferLoad:
    *outer, last = place.indices
    return BufferLoad(place.buffer, (*outer, last + k))
