"""`@T.prim_func(generator=True)`: one PrimFunc per set of arguments.

Also the tracer behind `tilelang.lazy_jit`: there the arguments of the first call (tensors,
constants) or placeholders play the part of the values.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from tilelang.errors import ArgumentTypeError, Note
from tilelang.ir.func import OUT_IDX, PrimFunc
from tilelang.language.builder import Builder
from tilelang.language.prim_func import function_span, trace
from tilelang.language.v2.annot import ArgVarTable, FuncAnnot


class PrimFuncCreator:
    """Makes a PrimFunc for each call.

    Attributes:
        orig_func: the user's function.
        func_annot: its annotations.
        out_idx_override: output indices of the PrimFunc made last (`None`: no T.empty outputs).
    """

    def __init__(self, function: FunctionType, annotations: Mapping[str, Any]) -> None:
        self.orig_func = function
        self.__name__ = function.__name__
        self.signature = inspect.signature(function)
        self.func_annot = FuncAnnot.from_sig_annots(self.signature, dict(annotations))
        self.out_idx_override: list[int] | None = None

    @property
    def ir_gen(self) -> FunctionType:
        """The function that is traced."""
        return self.orig_func

    def __call__(self, *args: Any, **keywords: Any) -> PrimFunc:
        """Trace with these arguments; those that are fully annotated may be left out."""
        values = self._values(args, keywords)
        builder = Builder(self.__name__)
        table = ArgVarTable()
        with builder.active():
            arguments = {
                name: self.func_annot.create_argument(name, value, table)
                for name, value in values.items()
            }
            made = trace(self.orig_func, builder, arguments)
        outputs = made.attribute(OUT_IDX)
        self.out_idx_override = None if outputs is None else list(outputs)
        return made

    def _values(self, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> dict[str, Any]:
        try:
            bound = self.signature.bind_partial(*args, **keywords)
        except TypeError as error:
            raise ArgumentTypeError(
                f"{self.__name__}: {error}",
                notes=[Note(function_span(self.orig_func), "defined here")],
            ) from None
        bound.apply_defaults()
        complete = self.func_annot.get_all_static_args()
        missing = [
            n for n in self.signature.parameters if n not in bound.arguments and n not in complete
        ]
        if missing:
            raise ArgumentTypeError(
                f"{self.__name__}: no value for {', '.join(f'`{n}`' for n in missing)}",
                notes=[Note(function_span(self.orig_func), "defined here")],
            )
        return {n: bound.arguments.get(n, complete.get(n)) for n in self.signature.parameters}
