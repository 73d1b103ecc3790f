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
from types import ModuleType

_OWN = "tilelang.tvm"


class _Alias(Loader):
    """Gives `tilelang.tvm`, and what is in it, a second name; the modules keep their own."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(_OWN)
        self.own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.own_spec
        for name, part in list(sys.modules.items()):
            if name.startswith(_OWN + "."):
                sys.modules[name.removeprefix("tilelang.")] = part


class TvmFinder(MetaPathFinder):
    """Finds `tvm`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        return ModuleSpec("tvm", _Alias(), is_package=True) if fullname == "tvm" else None


def install() -> None:
    """Ask this finder too, once all others know no `tvm`."""
    if not any(isinstance(f, TvmFinder) for f in sys.meta_path):
        sys.meta_path.append(TvmFinder())
