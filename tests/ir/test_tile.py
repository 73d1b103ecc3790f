"""Tile operations say by themselves what they read and write."""

from __future__ import annotations

import pytest

from tilelang.ir.buffer import Buffer
from tilelang.ir.expr import as_expr
from tilelang.ir.tile import TileOp, TileOperand

A, B, C = (Buffer(name, (8, 8)) for name in "ABC")


def gemm() -> TileOp:
    operands = (
        TileOperand("A", A.region(), "r"),
        TileOperand("B", B.region(), "r"),
        TileOperand("C", C.region(), "rw"),
    )
    return TileOp("gemm", operands, (("clear", as_expr(True)),), (("policy", 1),))


def test_reads_and_writes() -> None:
    op = gemm()
    assert [r.buffer.name for r in op.reads] == ["A", "B", "C"]
    assert [r.buffer.name for r in op.writes] == ["C"]
    assert [(o.is_read, o.is_written) for o in op.operands] == [(True, False)] * 2 + [(True, True)]
    write = TileOperand("dst", A.region(), "w")
    assert (write.is_read, write.is_written) == (False, True)


def test_parts_are_found_by_name() -> None:
    op = gemm()
    assert op.region("B").buffer is B
    assert op.value("clear").dtype == "bool"
    assert op.attribute("policy") == 1
    assert op.attribute("k_pack", 2) == 2
    with pytest.raises(StopIteration):
        op.region("D")
