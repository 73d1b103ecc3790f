"""Tensor-map records -> named values, ready for a template.

In: what the host part of a module says of one descriptor (`wrapper_facts.TensorMapRecord`).
Out: the same, taken apart by rank and checked. The templates are filled by the wrappers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tilelang.ir.expr import Expr, const_value
from tilelang.jit.adapter.wrapper_facts import TENSOR_MAP_IM2COL, TensorMapRecord
from tilelang.jit.adapter.wrapper_templates import TMA_DESC_INIT_FUNC, TMA_IM2COL_DESC_INIT_FUNC

ExprText = Callable[[Expr], str]
DESCRIPTOR_SUFFIX = "_desc"


@dataclass(frozen=True)
class TensorMap:
    """One descriptor; all values are text, lists in the order in which the driver takes them.

    `slots` holds what follows the address in the template of its kind.
    """

    handle: str
    is_im2col: bool
    dtype_id: str
    rank: int
    address: str
    slots: tuple[str, ...]

    def fill(self, name: str, template: str) -> str:
        """`template` with the values, for a descriptor called `name`."""
        return template.format(name, self.dtype_id, self.rank, self.address, *self.slots)

    @property
    def c_template(self) -> str:
        """The C template of its kind."""
        return TMA_IM2COL_DESC_INIT_FUNC if self.is_im2col else TMA_DESC_INIT_FUNC


def parse_tensor_map(record: TensorMapRecord, text: ExprText) -> TensorMap:
    """`record` taken apart.

    Raises:
        ValueError: for too few values, or a rank that is no positive constant.
    """
    label = f"the tensor map `{record.handle.name}`"
    if len(record.arguments) < 3:
        raise ValueError(f"{label} has {len(record.arguments)} values, at least 3 are needed")
    kind, rank_value, address, *rest = record.arguments
    number = const_value(rank_value)
    if not isinstance(number, int) or number <= 0:
        raise ValueError(f"{label} has rank {rank_value}, expected a positive integer")
    rank, is_im2col = number, record.creator == TENSOR_MAP_IM2COL
    lengths = [rank, rank, rank, rank - 2, rank - 2] if is_im2col else [rank] * 4
    lengths += [1] * (6 if is_im2col else 4)
    if len(rest) < sum(lengths) or min(lengths) < 0:
        raise ValueError(
            f"{label} of rank {rank} has {len(rest)} values after its address, "
            f"expected {sum(lengths)}"
        )
    slots = [_joined(group, text) for group in _groups(rest, lengths)]
    if is_im2col:  # the record has pixels per column first, the driver takes channels first
        slots[5], slots[6] = slots[6], slots[5]
    return TensorMap(record.handle.name, is_im2col, text(kind), rank, text(address), tuple(slots))


def _groups(values: Sequence[Expr], lengths: Sequence[int]) -> list[Sequence[Expr]]:
    groups: list[Sequence[Expr]] = []
    start = 0
    for length in lengths:
        groups.append(values[start : start + length])
        start += length
    return groups


def _joined(values: Sequence[Expr], text: ExprText) -> str:
    return ", ".join(text(v) for v in values)


def buffer_of_handle(handle: str) -> str:
    """The buffer that `A_desc` or `A_desc_1` describes."""
    head, separator, tail = handle.rpartition(DESCRIPTOR_SUFFIX)
    return head if separator and (not tail or tail.lstrip("_").isdigit()) else handle


def records_of(maps: Sequence[TensorMapRecord], handles: Iterable[str]) -> list[TensorMapRecord]:
    """The record of each handle name, each once, in the order of `handles`.

    Raises:
        ValueError: when the host makes no such tensor map.
    """
    by_handle = {record.handle.name: record for record in maps}
    found: list[TensorMapRecord] = []
    for handle in dict.fromkeys(handles):
        if handle not in by_handle:
            raise ValueError(f"the host makes no tensor map `{handle}`")
        found.append(by_handle[handle])
    return found
