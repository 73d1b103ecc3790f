"""`import tvm` where TVM is not installed: `tilelang.tvm`, under the name that programs know.

Programs written for the reference implementation say `from tvm import tir`, which it provides.
Asked last, so an installed TVM goes first; `tilelang.tvm` is loaded when it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType


class _Alias(Loader):
    """Gives a module of ours a second name; the module keeps its own."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.own_spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(self.module)
        self.own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.own_spec


class TvmFinder(MetaPathFinder):
    """Finds `tvm` and what is below it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname.partition(".")[0] != "tvm" or find_spec(f"tilelang.{fullname}") is None:
            return None
        return ModuleSpec(fullname, _Alias(f"tilelang.{fullname}"), is_package=fullname == "tvm")


def install() -> None:
    """Ask this finder too, once all others know no `tvm`."""
    if not any(isinstance(f, TvmFinder) for f in sys.meta_path):
        sys.meta_path.append(TvmFinder())
