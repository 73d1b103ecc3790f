"""Kernels that run on the emulator are also compiled by NVRTC, for architectures of one's choice.

`python -m tests.compile_for sm_80,sm_90a examples/gemm.py ...` does so for the kernels of scripts:
the scripts run with kernels that do nothing, so what they find wrong does not count. Exit status 1
when a kernel does not compile. `pytest tests/cpu --compile-for sm_80,sm_90a` does so for tests.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import runpy
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import tilelang.jit.kernel as jit_kernel
from tilelang.engine.cuda_build import compile_cubin
from tilelang.engine.emulator_session import Session
from tilelang.engine.lower import as_prim_func, lower
from tilelang.env import env
from tilelang.errors import Error
from tilelang.target.target import Target


@dataclass
class Outcome:
    """What became of the kernels: how many compiled, by architecture, and the errors."""

    compiled: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def of(self, arch: str) -> Iterator[None]:
        """Notes how the body ends."""
        try:
            yield
            self.compiled[arch] += 1
        except Error as error:
            self.errors.append(f"{arch}: {type(error).__name__}: {error}")


@contextlib.contextmanager
def compiling_for(archs: Sequence[str], outcome: Outcome | None = None) -> Iterator[None]:
    """Inside, each kernel that is compiled for `cuda` is compiled for every one of `archs` too.

    A kernel that does not compile raises what a user would see, or is noted in `outcome`.
    """

    def lower_and_compile(func_or_mod: Any, target: Any, host: Any, **options: Any) -> Any:
        made = lower(func_or_mod, target, host, **options)
        if made.target.kind == "cuda":
            others = {n: v for n, v in options.items() if n in ("pass_configs", "flags")}
            for arch in archs:
                with contextlib.nullcontext() if outcome is None else outcome.of(arch):
                    _compile(func_or_mod, Target(f"cuda -arch={arch}"), others)
        return made

    with patch.object(jit_kernel, "lower", lower_and_compile):
        yield


def _compile(func_or_mod: Any, target: Target, options: dict[str, Any]) -> None:
    made = lower(func_or_mod, target, **options)
    compile_cubin(as_prim_func(func_or_mod), made.kernel_source, made.target)


def _run_script(path: Path) -> None:
    """With kernels that do nothing: what the script makes of their results does not count."""
    folder = str(path.parent.resolve())
    with (
        patch.object(sys, "argv", [str(path)]),
        patch.object(sys, "path", [folder, *sys.path]),
        patch.object(Session, "launch", lambda *_: None),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.suppress(SystemExit, Exception),
    ):
        runpy.run_path(str(path), run_name="__main__")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compile_for", description=__doc__)
    parser.add_argument("archs", help="such as sm_80,sm_90a")
    parser.add_argument("scripts", nargs="+", type=Path)
    given = parser.parse_args()
    failed = 0
    for path in given.scripts:
        outcome = Outcome()
        with (
            env.scope(TILELANG_TARGET="cuda", TILELANG_EMULATE=True, TILELANG_DISABLE_CACHE=True),
            compiling_for(given.archs.split(","), outcome),
        ):
            _run_script(path)
        print(f"{path}: {dict(outcome.compiled)}", *outcome.errors, sep="\n  ", flush=True)
        failed += bool(outcome.errors) or not outcome.compiled
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
