"""Accesses to global buffers that may fall outside them are tested while the kernel runs."""

from __future__ import annotations

from typing import Any

from tilelang.ir.annotation import IN_RANGE, SAFE_VALUE
from tilelang.ir.func import PrimFunc
from tilelang.ir.node import replace
from tilelang.ir.stmt import Attr
from tilelang.ir.visitor import Mutator
from tilelang.transform.config import PassConfigKey
from tilelang.transform.context import PassContext
from tilelang.transform.guard_loads import LoadGuards
from tilelang.transform.guard_stores import StoreGuards


def legalize_memory(func: PrimFunc, ctx: PassContext) -> PrimFunc:
    """Guard every access to global memory that is not proved to be in range.

    Needs: thread form. Leaves: thread form without `SAFE_VALUE` and `IN_RANGE` attributes. Only
    what cannot be proved is tested, outside the loops it does not depend on; addresses are not.

        for i in vectorized(128): C[b * 128 + i] = A[b * 128 + i]
    --> for i in vectorized(min(128, n - b * 128)): C[b * 128 + i] = A[b * 128 + i]
    """
    if ctx.option(PassConfigKey.TL_DISABLE_SAFE_MEMORY_ACCESS):
        return _Unmarked().mutate(func)
    stores = StoreGuards()
    stores.add_parameters(func)
    body = stores.place(func.body)
    return LoadGuards().mutate(func if body is func.body else replace(func, body=body))


class _Unmarked(Mutator):
    """Takes the attributes away that no later pass reads."""

    def mutate_Attr(self, node: Attr) -> Any:
        if node.key in (IN_RANGE, SAFE_VALUE):
            return self.mutate(node.body)
        return self.mutate_children(node)
