"""What all library wrappers hold: the modules of one compilation, its source, and `lib_code`.

In: what `TLWrapper` was given. Out: `lib_code`, made when the wrapper is. Which functions there are
(`parse_source_information`) and what stands around the source (`update_lib_code`) is the target's:
`wrapper.py`, `wrapper_cuda.py`, `wrapper_hip.py`, `wrapper_nvrtc.py`.
"""

from __future__ import annotations

from typing import Any

from tilelang.ir.func import IRModule, PrimFunc
from tilelang.jit.adapter.wrapper_facts import main_function, symbol_types


class SourceWrapper:
    """Makes the library text of one source.

    Args:
        scheduled_ir_module: the functions as they were traced.
        source: what the target's printer made of them.
        target: what it was printed for.
        device_mod, host_mod: the lowered functions, where the caller has them.

    Attributes:
        mod: `scheduled_ir_module`.
        function_names: what `call` runs, in order.
        lib_code: the library's text.
    """

    backend = "tl"
    device_mod: IRModule | None = None
    host_mod: IRModule | None = None
    pass_configs: dict[str, Any] | None = None
    function_names: list[str] | None = None
    srcpath: str | None = None
    libpath: str | None = None
    lib_code: str | None = None

    def __init__(
        self,
        scheduled_ir_module: IRModule,
        source: str,
        target: Any,
        device_mod: IRModule | None = None,
        host_mod: IRModule | None = None,
        pass_configs: dict[str, Any] | None = None,
    ) -> None:
        self.mod = scheduled_ir_module
        self.target = target
        self.source = source
        self.device_mod = device_mod
        self.host_mod = host_mod
        self.pass_configs = pass_configs
        self.parse_source_information()
        self.lib_code = self.update_lib_code(source)

    def parse_source_information(self) -> None:
        """Find what the library has to run, before its text is made; nothing by default."""

    def update_lib_code(self, code: str) -> str:
        """The library's text around `code`; kept as `lib_code`."""
        raise NotImplementedError

    def get_dynamic_symbolic_set(self, prim_func: PrimFunc) -> list[tuple[str, str]]:
        """(name, dtype) of the symbols of shapes, then of strides, that are no parameters.

        Raises:
            AssertionError: when one name stands for two dtypes.
        """
        return symbol_types(prim_func)

    @property
    def prim_func(self) -> PrimFunc:
        """The function as it was written: its parameters are those of `call`.

        Raises:
            ValueError: when the module does not say which one it is.
        """
        return main_function(self.mod)
