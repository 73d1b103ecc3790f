"""`T.gemm` and the matrix products of particular devices.

Shapes and types are checked here, with both operands shown; `tileop` decides how a product runs.
"""

from __future__ import annotations

from typing import Any, NoReturn

from tilelang.errors import ArgumentError, DTypeError, Note, ShapeError, TargetError
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Expr, as_condition, as_expr, const_value, is_const
from tilelang.ir.record import record
from tilelang.ir.stmt import Annotations
from tilelang.ir.tile import TileOperand
from tilelang.language.location import argument_span
from tilelang.language.operand import (
    Tile,
    attributes,
    emit_tile_op,
    tile,
    user_annotations,
)
from tilelang.layout.warp_policy import GemmWarpPolicy


@record
class _Matrix:
    """A tile seen as a matrix: its last two axes, exchanged when transposed."""

    tile: Tile
    letters: tuple[str, str]  # what rows and columns are called in the product
    is_transposed: bool

    def extent(self, letter: str) -> int:
        """The extent called `letter`.

        Raises:
            ShapeError: when it is known only at run time.
        """
        axis = self.axis(letter)
        number = const_value(self.tile.box[axis])
        if number is None:
            raise ShapeError(
                f"gemm: axis {axis} of `{self.tile.name}` has the run-time extent "
                f"`{self.tile.box[axis]}`, expected a constant",
                argument_span(self.tile.argument),
                hint="multiply whole tiles; T.copy fills their edges with zero",
            )
        return int(number)

    def axis(self, letter: str) -> int:
        """The axis of the buffer that is called `letter`."""
        position = self.letters.index(letter) ^ self.is_transposed
        return len(self.tile.starts) - 2 + position

    def note(self, letter: str) -> Note:
        """Its place in the call, and which axis is `letter`."""
        return self.tile.note(f", {letter} is axis {self.axis(letter)}")


def _matrix(
    function: str, argument: int, value: Any, letters: tuple[str, str], is_transposed: bool
) -> _Matrix:
    operand = tile(function, argument, value)
    if operand.is_element or len(operand.box) < 2:
        kind = "one element" if operand.is_element else f"of rank {len(operand.box)}"
        raise ShapeError(
            f"{function}: `{operand.name}` is {kind}, expected a matrix",
            argument_span(argument),
            notes=operand.notes(),
        )
    if not all(is_const(e, 1) for e in operand.box[:-2]):
        raise ShapeError(
            f"{function}: `{operand.name}` has leading extents other than 1",
            argument_span(argument),
            notes=operand.notes(),
            hint=f"pick one matrix: {operand.name}[{'i, ' * (len(operand.box) - 2)}:, :]",
        )
    return _Matrix(operand, letters, is_transposed)


def _check_extents(function: str, first: _Matrix, second: _Matrix, letter: str) -> None:
    a, b = first.extent(letter), second.extent(letter)
    if a != b:
        _reject_extents(function, first, second, letter, a, b)


def _reject_extents(
    function: str, first: _Matrix, second: _Matrix, letter: str, a: int, b: int, factor: int = 1
) -> NoReturn:
    one, other = first.tile.name, second.tile.name
    ratio = "" if factor == 1 else f", expected {factor} x {a}"
    raise ShapeError(
        f"{function}: {letter} of {one} is {a} but {letter} of {other} is {b}{ratio}",
        argument_span(first.tile.argument),
        notes=[
            first.note(letter),
            second.note(letter),
            *first.tile.allocated(),
            *second.tile.allocated(),
        ],
        hint=_extents_hint(second, letter, a * factor),
    )


def _extents_hint(matrix: _Matrix, letter: str, expected: int) -> str:
    name = matrix.tile.name
    other = matrix.letters[1 - matrix.letters.index(letter)]
    if "C" not in matrix.letters and matrix.extent(other) == expected:
        side = "A" if matrix.letters == ("M", "K") else "B"
        order = ", ".join(reversed(matrix.letters))
        if matrix.letters != ("M", "N"):
            return f"pass transpose_{side}={not matrix.is_transposed} if {name} is stored [{order}]"
    return f"make {letter} of {name} {expected}"


def _check_types(function: str, A: Tile, B: Tile, C: Tile) -> None:
    a, b, c = A.dtype, B.dtype, C.dtype
    small_floats = a.is_float and b.is_float and max(a.bits, b.bits) <= 8
    small_ints = a.is_int and b.is_int and max(a.bits, b.bits) <= 8
    if a != b and not small_floats and not small_ints:
        raise DTypeError(
            f"{function}: {A.name} is {a} but {B.name} is {b}",
            argument_span(B.argument),
            notes=[*A.notes(), *B.notes()],
            hint="copy one of them into a tile of the other's type",
        )
    if not (a.is_float or a.is_int):
        raise DTypeError(
            f"{function}: {A.name} is {a}, expected floats or integers",
            argument_span(A.argument),
            notes=A.notes(),
        )
    if not _can_accumulate(a, c):
        raise DTypeError(
            f"{function}: products of {a} cannot be summed in {C.name}, which is {c}",
            argument_span(C.argument),
            notes=C.notes(),
            hint=f"allocate {C.name} as {_usual_accumulator(a)}",
        )


def _can_accumulate(a: dtype, c: dtype) -> bool:
    if a.is_float:
        return c == "float64" if a == "float64" else c.is_float and c.bits >= 16
    return a.is_int and c.is_int and c.bits >= 32


def _usual_accumulator(a: dtype) -> str:
    if a == "float64":
        return "float64"
    return "float32" if a.is_float else "int32"


def checked_operands(
    function: str, A: Any, B: Any, C: Any, transpose_A: bool, transpose_B: bool
) -> list[TileOperand]:
    """The three operands of a product, after all checks.

    Raises:
        ShapeError: for a rank below 2, a run-time extent, or an M, N or K that differs.
        DTypeError: for types that no product has.
    """
    a = _matrix(function, 0, A, ("M", "K"), bool(transpose_A))
    b = _matrix(function, 1, B, ("K", "N"), bool(transpose_B))
    c = _matrix(function, 2, C, ("M", "N"), False)
    _check_extents(function, a, b, "K")
    _check_extents(function, a, c, "M")
    _check_extents(function, b, c, "N")
    _check_types(function, a.tile, b.tile, c.tile)
    return [a.tile.operand("A", "r"), b.tile.operand("B", "r"), c.tile.operand("C", "rw")]


def _policy(function: str, policy: Any) -> int:
    try:
        return int(GemmWarpPolicy(policy))
    except ValueError:
        raise ArgumentError(
            f"{function}: policy is {policy!r}, expected a T.GemmWarpPolicy",
            argument_span("policy"),
        ) from None


def _clear(function: str, clear_accum: Any) -> Expr:
    value = as_expr(clear_accum)
    if value.dtype.lanes > 1 or not (value.dtype.is_bool or value.dtype.is_int):
        raise ArgumentError(
            f"{function}: clear_accum is a {value.dtype}, expected a condition",
            argument_span("clear_accum"),
        )
    return as_condition(value)


def gemm(
    A: Any,
    B: Any,
    C: Any,
    transpose_A: bool = False,
    transpose_B: bool = False,
    policy: GemmWarpPolicy = GemmWarpPolicy.Square,
    clear_accum: Any = False,
    k_pack: int = 1,
    wg_wait: int = 0,
    mbar: Any = None,
    annotations: dict[str, Any] | None = None,
) -> None:
    """`C += op(A) @ op(B)` on tiles; the sum is formed in the type of C.

    Args:
        A: `[M, K]`, or `[K, M]` with `transpose_A`; buffers or slices with leading extents of 1.
        B: `[K, N]`, or `[N, K]` with `transpose_B`.
        C: `[M, N]`.
        policy: how warps share C; never changes the result.
        clear_accum: true, or a condition evaluated at run time: C is 0 before.
        k_pack, wg_wait, mbar: for particular devices; never change the result.
    """
    _product(
        "gemm", A, B, C, transpose_A, transpose_B, clear_accum,
        attributes(
            policy=_policy("gemm", policy), k_pack=_k_pack(k_pack), wg_wait=wg_wait or None
        ) + user_annotations(annotations),
        mbar,
    )  # fmt: skip


def _k_pack(k_pack: int) -> int | None:
    if k_pack not in (1, 2):
        raise ArgumentError(f"gemm: k_pack is {k_pack!r}, expected 1 or 2", argument_span("k_pack"))
    return None if k_pack == 1 else k_pack


def _product(
    op: str, A: Any, B: Any, C: Any, transpose_A: bool, transpose_B: bool, clear_accum: Any,
    notes: Annotations, mbar: Any = None, extra: list[TileOperand] | None = None,
) -> None:  # fmt: skip
    operands = checked_operands(op, A, B, C, transpose_A, transpose_B) + (extra or [])
    if mbar is not None:
        operands.append(tile(op, 9, mbar).operand("mbar", "rw"))
    flags = attributes(transpose_A=bool(transpose_A), transpose_B=bool(transpose_B))
    emit_tile_op(op, operands, flags + notes, [("clear_accum", _clear(op, clear_accum))])


gemm_v1 = gemm
gemm_v2 = gemm


def wgmma_gemm(
    A: Any,
    B: Any,
    C: Any,
    transpose_A: bool = False,
    transpose_B: bool = False,
    policy: GemmWarpPolicy = GemmWarpPolicy.Square,
    clear_accum: Any = False,
    annotations: dict[str, Any] | None = None,
) -> None:
    """As `gemm`, started without waiting: `T.wait_wgmma(0)` before C is used."""
    notes = attributes(policy=_policy("wgmma_gemm", policy)) + user_annotations(annotations)
    _product("wgmma_gemm", A, B, C, transpose_A, transpose_B, clear_accum, notes)


wgmma_mma = wgmma_gemm


def tcgen05_gemm(
    A: Any,
    B: Any,
    C: Any,
    transpose_A: bool = False,
    transpose_B: bool = False,
    policy: GemmWarpPolicy = GemmWarpPolicy.Square,
    clear_accum: Any = False,
    *,
    mbar: Any = None,
    use_2cta: bool = False,
    annotations: dict[str, Any] | None = None,
) -> None:
    """A product into tensor memory, which arrives on `mbar` when done (Blackwell)."""
    notes = attributes(policy=_policy("tcgen05_gemm", policy), use_2cta=use_2cta or None)
    notes += user_annotations(annotations)
    _product("tcgen05_gemm", A, B, C, transpose_A, transpose_B, clear_accum, notes, mbar)


tcgen05_mma = tcgen05_gemm


def tcgen05_gemm_blockscaled(
    A: Any,
    B: Any,
    C: Any,
    SFA_tmem: Any,
    SFB_tmem: Any,
    transpose_A: bool = False,
    transpose_B: bool = False,
    clear_accum: Any = False,
    wg_wait: int = 0,
    mbar: Any = None,
    *,
    k_start: Any,
    sf_a_granularity_k: int,
    sf_b_granularity_k: int,
    use_2cta: bool = False,
) -> None:
    """A product of block-scaled operands, scale factors in tensor memory (Blackwell)."""
    scales = _scales("tcgen05_gemm_blockscaled", SFA_tmem, SFB_tmem)
    notes = attributes(
        wg_wait=wg_wait or None, use_2cta=use_2cta or None, k_start=as_expr(k_start),
        sf_a_granularity_k=sf_a_granularity_k, sf_b_granularity_k=sf_b_granularity_k,
    )  # fmt: skip
    _product(
        "tcgen05_gemm_blockscaled",
        A,
        B,
        C,
        transpose_A,
        transpose_B,
        clear_accum,
        notes,
        mbar,
        scales,
    )


tcgen05_mma_blockscaled = tcgen05_gemm_blockscaled


def _scales(function: str, SFA: Any, SFB: Any) -> list[TileOperand]:
    return [
        tile(function, 3, SFA).operand("SFA", "r"),
        tile(function, 4, SFB).operand("SFB", "r"),
    ]


def mma_gemm_blockscaled(
    A: Any,
    B: Any,
    C: Any,
    SFA: Any,
    SFB: Any,
    transpose_A: bool = False,
    transpose_B: bool = False,
    policy: GemmWarpPolicy = GemmWarpPolicy.Square,
    clear_accum: Any = False,
    *,
    k_start: Any,
    sf_a_granularity_k: int,
    sf_b_granularity_k: int,
    sf_layout: Any = None,
) -> None:
    """A product of block-scaled operands by warp-level instructions (consumer Blackwell)."""
    notes = attributes(
        policy=_policy("mma_gemm_blockscaled", policy), k_start=as_expr(k_start),
        sf_a_granularity_k=sf_a_granularity_k, sf_b_granularity_k=sf_b_granularity_k,
        sf_layout=sf_layout,
    )  # fmt: skip
    scales = _scales("mma_gemm_blockscaled", SFA, SFB)
    _product(
        "mma_gemm_blockscaled", A, B, C, transpose_A, transpose_B, clear_accum, notes, None, scales
    )


def make_blockscaled_gemm_layout(C: Any, A: Any, transpose_A: bool = False) -> NoReturn:
    """The accumulator's Fragment of `mma_gemm_blockscaled`."""
    raise TargetError(
        "make_blockscaled_gemm_layout: needs a target with a block-scaled matrix unit",
        argument_span(0),
    )


def gemm_sp(
    A_sparse: Any,
    E: Any,
    B: Any,
    C: Any,
    transpose_A: bool = False,
    transpose_E: bool = False,
    transpose_B: bool = False,
    policy: GemmWarpPolicy = GemmWarpPolicy.Square,
    clear_accum: Any = False,
    k_pack: int = 1,
    wg_wait: int = 0,
    annotations: dict[str, Any] | None = None,
) -> None:
    """`C += A @ B` with 2:4 sparse A: `A_sparse` holds half of K, `E` says which elements.

    Raises:
        ShapeError: unless K of B is twice K of A_sparse.
    """
    a = _matrix("gemm_sp", 0, A_sparse, ("M", "K"), bool(transpose_A))
    b = _matrix("gemm_sp", 2, B, ("K", "N"), bool(transpose_B))
    c = _matrix("gemm_sp", 3, C, ("M", "N"), False)
    if 2 * a.extent("K") != b.extent("K"):
        _reject_extents("gemm_sp", a, b, "K", a.extent("K"), b.extent("K"), factor=2)
    _check_extents("gemm_sp", a, c, "M")
    _check_extents("gemm_sp", b, c, "N")
    metadata = tile("gemm_sp", 1, E)
    notes = attributes(
        transpose_A=bool(transpose_A), transpose_B=bool(transpose_B), transpose_E=bool(transpose_E),
        policy=_policy("gemm_sp", policy), k_pack=_k_pack(k_pack), wg_wait=wg_wait or None,
    )  # fmt: skip
    operands = [
        a.tile.operand("A", "r"), metadata.operand("E", "r"), b.tile.operand("B", "r"),
        c.tile.operand("C", "rw"),
    ]  # fmt: skip
    values = [("clear_accum", _clear("gemm_sp", clear_accum))]
    emit_tile_op("gemm_sp", operands, notes + user_annotations(annotations), values)


gemm_sp_v2 = gemm_sp
wgmma_gemm_sp = gemm_sp
tcgen05_gemm_sp = gemm_sp
