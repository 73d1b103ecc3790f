"""`tilelang.tvm` is other names for our types, and nothing else."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import tilelang.tvm as tvm
from tilelang.ir import buffer, dtype, expr, func, stmt

FILES = sorted(Path(tvm.__file__).parent.glob("*.py"))


@pytest.mark.parametrize(
    ("alias", "original"),
    [
        (tvm.DataType, dtype.dtype),
        (tvm.IRModule, func.IRModule),
        (tvm.ir.IRModule, func.IRModule),
        (tvm.ir.Range, expr.Range),
        (tvm.tir.Var, expr.Var),
        (tvm.tir.Buffer, buffer.Buffer),
        (tvm.tir.PrimFunc, func.PrimFunc),
        (tvm.tir.PrimExpr, expr.Expr),
        (tvm.tir.SeqStmt, stmt.Seq),
        (tvm.runtime.DataType, dtype.dtype),
    ],
)
def test_names_are_the_very_classes(alias: object, original: object) -> None:
    assert alias is original


def test_runtime_classes_come_from_the_engine() -> None:
    from tilelang.engine import runtime

    assert tvm.runtime.Module is runtime.Module
    assert tvm.runtime.Executable is runtime.Executable


def test_target_comes_from_the_target_folder() -> None:
    assert tvm.target.Target.__module__.startswith("tilelang.target")


@pytest.mark.parametrize("module", [m.name for m in pkgutil.iter_modules(tvm.__path__)])
def test_unknown_names_are_attribute_errors_and_known_ones_exist(module: str) -> None:
    loaded = importlib.import_module(f"tilelang.tvm.{module}")
    with pytest.raises(AttributeError, match="NoSuchName"):
        loaded.NoSuchName  # noqa: B018
    assert all(hasattr(loaded, name) for name in loaded.__all__)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_files_hold_no_logic(path: Path) -> None:
    defined = [
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    ]
    assert defined in ([], ["__getattr__"])


def test_importing_it_loads_neither_the_engine_nor_pytorch() -> None:
    code = (
        "import sys, tilelang.tvm\n"
        "print([m for m in ('torch', 'tilelang.engine.runtime') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_tvm_is_found_under_its_own_name_where_it_is_not_installed() -> None:
    code = """
import tilelang, tilelang.tvm
import tvm
from tvm import DataType, tir
import tvm.tir as again
assert tvm is tilelang.tvm and again is tir is tilelang.tvm.tir
assert tvm.__spec__.name == "tilelang.tvm"
assert DataType("float16").bits == 16 and tir.reinterpret is tilelang.language.reinterpret
try:
    import tvm.relay
except ModuleNotFoundError:
    print("as it should be")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "as it should be\n", done.stderr


def test_an_installed_tvm_goes_first(tmp_path: Path) -> None:
    (tmp_path / "tvm.py").write_text("mine = True\n")
    code = "import tilelang, tvm; print(tvm.mine)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )  # fmt: skip
    assert done.stdout == "True\n", done.stderr
