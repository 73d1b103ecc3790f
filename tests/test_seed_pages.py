"""Every name, parameter and default of the reference pages exists.

The facts stand in `data/seed_pages.json`, extracted from the pages by `data/extract_seed_pages.py`.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parent / "data"
SEEDS = Path(__file__).parents[2] / "shared" / "seeds"
TABLE: dict[str, dict[str, Any]] = json.loads((DATA / "seed_pages.json").read_text())

# On these the page leaves out the first parameter of the constructor.
FIRST_PARAMETER_OMITTED = {"Buffer"}
ABSENT = object()

NAMES = [(module, name) for module, names in TABLE.items() for name in names]
MEMBERS = [
    (module, name, member)
    for module, name in NAMES
    for member in TABLE[module][name].get("members", {})
]


def _find(module: str, name: str) -> Any:
    found = getattr(importlib.import_module(module), name, ABSENT)
    assert found is not ABSENT, f"{module} has no `{name}`"
    return found


def _default(text: str) -> Any:
    """The value of a default written in a page."""
    if text.startswith("dt."):
        from tilelang.language.v2 import dtypes

        return getattr(dtypes, text.removeprefix("dt."))
    return ast.literal_eval(text)


def _check_parameters(actual: list[inspect.Parameter], expected: list[list[str | None]]) -> None:
    shown = [str(p.replace(annotation=p.empty)) for p in actual]
    assert len(actual) >= len(expected), shown
    for parameter, (name, default) in zip(actual, expected):
        assert str(parameter.replace(annotation=parameter.empty, default=parameter.empty)) == name
        if default is None:
            assert parameter.default is parameter.empty, f"{name} is required, got {shown}"
        else:
            assert parameter.default == _default(default), shown
            assert type(parameter.default) is type(_default(default)), shown
    for extra in actual[len(expected) :]:
        is_optional = extra.default is not extra.empty or extra.kind is extra.VAR_KEYWORD
        assert is_optional, f"{extra} is not in the page"


def _fields_default(cls: type, name: str) -> Any:
    """Default of an attribute: a class attribute, dataclass field or constructor parameter."""
    for field in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
        if field.name == name and field.default is not dataclasses.MISSING:
            return field.default
    found = inspect.getattr_static(cls, name, ABSENT)
    if found is not ABSENT and not hasattr(found, "__get__"):
        return found
    parameter = inspect.signature(cls).parameters.get(name)
    return ABSENT if parameter is None else parameter.default


def _assigned_on_self(cls: type) -> set[str]:
    names: set[str] = set()
    for base in cls.__mro__[:-1]:
        if not base.__module__.startswith("tilelang"):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        stored = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
        names |= {n.attr for n in stored if isinstance(n.ctx, ast.Store) and _is_self(n.value)}
    return names


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _has_attribute(cls: Any, name: str) -> bool:
    if hasattr(cls, name):
        return True
    if not isinstance(cls, type):
        return False
    declared = {n for base in cls.__mro__ for n in vars(base).get("__annotations__", {})}
    fields = {f.name for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    return name in declared | fields or name in _assigned_on_self(cls)


@pytest.mark.parametrize(("module", "name"), NAMES, ids=lambda v: v.rpartition(".")[2])
def test_name_exists_with_its_parameters(module: str, name: str) -> None:
    found = _find(module, name)
    expected = TABLE[module][name].get("parameters")
    if expected is not None:
        actual = list(inspect.signature(found).parameters.values())
        _check_parameters(actual[name in FIRST_PARAMETER_OMITTED :], expected)


@pytest.mark.parametrize(("module", "name", "member"), MEMBERS, ids=lambda v: v.rpartition(".")[2])
def test_member_exists_with_its_parameters_and_default(module: str, name: str, member: str) -> None:
    cls, entry = _find(module, name), TABLE[module][name]["members"][member]
    assert _has_attribute(cls, member), f"{name} has no `{member}`"
    if entry["kind"] == "method" and isinstance(cls, type):
        method = getattr(cls, member)
        static = inspect.getattr_static(cls, member)
        assert isinstance(static, classmethod) == entry.get("classmethod", False)
        assert isinstance(static, staticmethod) == entry.get("staticmethod", False)
        actual = list(inspect.signature(method).parameters.values())
        is_bound = isinstance(static, (classmethod, staticmethod))
        _check_parameters(actual[0 if is_bound else 1 :], entry["parameters"])
    if entry["kind"] == "property":
        assert isinstance(cls, type) is False or isinstance(
            inspect.getattr_static(cls, member), property
        )
    if "value" in entry:
        assert _fields_default(cls, member) == _default(entry["value"])


@pytest.mark.skipif(not SEEDS.exists(), reason="the reference pages are not beside the repository")
def test_the_table_is_what_the_pages_say() -> None:
    spec = importlib.util.spec_from_file_location("extract", DATA / "extract_seed_pages.py")
    assert spec is not None and spec.loader is not None
    extract = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extract)
    assert extract.parse_pages(SEEDS) == TABLE
    assert extract.to_json(TABLE) == (DATA / "seed_pages.json").read_text()
