"""The folders of the package import only what stands before them: data flows one way."""

from __future__ import annotations

import ast
from pathlib import Path

import tilelang

PACKAGE = Path(tilelang.__file__).parent
ORDER: tuple[tuple[str, ...], ...] = (
    ("env", "errors", "math"),
    ("tracebacks", "tvm_finder"),
    ("ir",),
    ("arith",),
    ("layout",),
    ("target",),
    ("tileop", "language"),
    ("transform",),
    ("codegen",),
    ("engine",),
    ("cache", "profiler"),
    ("jit",),
    ("tools", "tvm", "testing"),
    ("__main__",),
)
RANK = {folder: rank for rank, folders in enumerate(ORDER) for folder in folders}
ENTRY = ("__init__",)  # the package's own face, which loads everything lazily


def imports_of(file: Path) -> list[tuple[str, int]]:
    """Modules of the package that `file` imports, at any depth, with their lines."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = (
                [node.module]
                if node.module != "tilelang"
                else [f"tilelang.{a.name}" for a in node.names]
            )
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        else:
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{file}: relative import"
            continue
        found += [(name, node.lineno) for name in names if name.split(".")[0] == "tilelang"]
    return found


def folder_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def violations(files: dict[str, Path]) -> list[str]:
    out = []
    for folder, file in files.items():
        for module, line in imports_of(file):
            other = folder_of(module)
            if other in ENTRY or other == folder.split("|")[0]:
                continue
            if other not in RANK:
                out.append(f"{file}:{line}: `{module}` is in no listed folder")
            elif RANK[other] >= RANK[folder.split("|")[0]]:
                out.append(f"{file}:{line}: {folder.split('|')[0]} imports {module}")
    return out


def package_files() -> dict[str, Path]:
    files = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).parts
        folder = parts[0].removesuffix(".py")
        if folder not in ENTRY:
            assert folder in RANK, f"{file} is in no listed folder"
            files[f"{folder}|{file}"] = file
    return files


def test_folders_import_only_what_stands_before_them():
    assert violations(package_files()) == []


def test_a_backward_import_is_found(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text(
        "def f():\n    from tilelang.jit import compile\n    import tilelang.codegen.c\n"
    )
    found = violations({f"ir|{file}": file})
    assert len(found) == 2 and "bad.py:2: ir imports tilelang.jit" in found[0]


def test_no_module_of_the_package_imports_torch_at_import_time():
    for file in PACKAGE.rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(n.split(".")[0] in ("torch", "tvm_ffi") for n in names), (
                f"{file}:{node.lineno}"
            )
