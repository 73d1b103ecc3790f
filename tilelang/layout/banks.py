"""Bank conflicts of shared memory, counted.

Shared memory has 32 banks of 4 bytes; word `w` lies in bank `w % 32`. One transaction delivers one
word of each bank, to all threads that want it. A warp whose threads want at most 4 bytes each is
served at once, 8 bytes in halves, 16 bytes in quarters. The degree of an access is the largest
number of different words that one of these groups wants of one bank: 1 is free of conflicts.

In: byte addresses of the threads, from whoever knows them. Out: the degree. It knows no program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tilelang.layout.layout import Layout

Table = npt.NDArray[np.int64]

BANKS = 32
BANK_BYTES = 4
WARP = 32
MATRIX_ROWS = 8  # that `ldmatrix` reads together
CHUNK_BYTES = 16  # of each of them


def conflict_degree(addresses: npt.ArrayLike, size: int) -> int:
    """The worst group's degree.

    Args:
        addresses: byte address of each thread's access, int `[..., threads]`: one row per
            instruction, warps one after the other in a row; -1: the thread has none.
        size: bytes that one thread accesses at once.

    Returns:
        0 when nobody accesses anything.
    """
    table = np.asarray(addresses, np.int64)
    threads = table.shape[-1]
    together = max(1, WARP * BANK_BYTES // max(size, BANK_BYTES))
    missing = -threads % together
    table = np.pad(table.reshape(-1, threads), ((0, 0), (0, missing)), constant_values=-1)
    worst = 0
    for group in np.unique(table.reshape(-1, together), axis=0):
        starts = group[group >= 0]
        if not starts.size:
            continue
        reach = np.arange(0, size, min(size, BANK_BYTES))
        words = np.unique((starts[:, None] + reach) // BANK_BYTES)
        worst = max(worst, int(np.bincount(words % BANKS).max()))
    return worst


def matrix_conflicts(layout: Layout, bits: int) -> int:
    """The degree of `ldmatrix`: 8 rows that follow each other, one 16-byte chunk of each.

    Args:
        layout: of a buffer whose last axis is the row; leading axes are slots.
        bits: width of an element.
    """
    rows, columns = layout.shape[-2:]
    chunk = CHUNK_BYTES * 8 // bits
    table = layout.offsets.reshape(-1, rows, columns)[0, : rows - rows % MATRIX_ROWS, ::chunk]
    groups = table.reshape(-1, MATRIX_ROWS, table.shape[-1]).swapaxes(1, 2)
    return conflict_degree(groups * bits // 8, CHUNK_BYTES)
