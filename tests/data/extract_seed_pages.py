"""Reads names, parameters and defaults out of the reference pages and writes `seed_pages.json`.

    python tests/data/extract_seed_pages.py ../shared/seeds

A page is reStructuredText of `py` directives: modules, classes, and their members, each with its
signature as text. The table maps module -> members; a class has `parameters` and `members` of its
own. Signatures stay text: defaults are compared by the test, which can evaluate them.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).parent / "seed_pages.json"

# Page number -> classes and constants looked at; `None` for all of the page.
PAGES: dict[str, tuple[str, ...] | None] = {
    "000": None,
    "002": None,
    "003": None,
    "004": None,
}

_DIRECTIVE = re.compile(r"( *)\.\. py:(\w+):: (\w[\w.]*)(?:\((.*)\))?$")
_OPTION = re.compile(r" +:(\w+):(?: (.*))?$")


def parse_parameters(text: str) -> list[list[str | None]]:
    """`a, b = 1, *c` as `[["a", None], ["b", "1"], ["*c", None]]`."""
    if not text.strip():
        return []
    arguments = ast.parse(f"def f({text}): ...").body[0].args  # type: ignore[attr-defined]
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    found: list[list[str | None]] = [[a.arg, _text(d)] for a, d in zip(plain, defaults)]
    if arguments.vararg:
        found.append([f"*{arguments.vararg.arg}", None])
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults)
    found += [[a.arg, _text(d)] for a, d in pairs]
    if arguments.kwarg:
        found.append([f"**{arguments.kwarg.arg}", None])
    return found


def _text(node: ast.expr | None) -> str | None:
    return None if node is None else ast.unparse(node)


def parse_page(text: str) -> dict[str, Any]:
    """`{module: {name: entry}}` of one page."""
    module: dict[str, Any] = {}
    name = ""
    owner: dict[str, Any] | None = None
    entry: dict[str, Any] = {}
    for line in text.splitlines():
        directive = _DIRECTIVE.match(line)
        if directive is None:
            option = _OPTION.match(line)
            if option and option.group(1) in ("value", "classmethod", "staticmethod"):
                entry[option.group(1)] = option.group(2) or True
            continue
        indent, kind, called, parameters = directive.groups()
        if kind == "module":
            name = called
            continue
        entry = {"kind": kind}
        if parameters is not None:
            entry["parameters"] = parse_parameters(parameters)
        if indent:
            assert owner is not None, f"{called} stands in no class"
            owner["members"][called] = entry
        else:
            module[called] = entry
        if kind == "class":
            entry["members"] = {}
            owner = entry
    return {name: module}


def parse_pages(folder: Path) -> dict[str, Any]:
    """The table of all pages in `folder`."""
    table: dict[str, Any] = {}
    for number, wanted in PAGES.items():
        (page,) = folder.glob(f"{number}_*.txt")
        for module, members in parse_page(page.read_text()).items():
            table[module] = {n: e for n, e in members.items() if wanted is None or n in wanted}
    return table


def to_json(table: dict[str, Any]) -> str:
    """JSON with a line per member."""
    modules = [
        f"{json.dumps(module)}: {{\n" + ",\n".join(_entries(names, 1)) + "\n}"
        for module, names in table.items()
    ]
    return "{\n" + ",\n".join(modules) + "\n}\n"


def _entries(names: dict[str, Any], depth: int) -> list[str]:
    lines: list[str] = []
    for name, entry in names.items():
        flat = json.dumps({k: v for k, v in entry.items() if k != "members"})
        if "members" in entry:
            members = ",\n".join(_entries(entry["members"], depth + 1))
            flat = f'{flat[:-1]}, "members": {{\n{members}}}}}'
        lines.append(f"{' ' * depth}{json.dumps(name)}: {flat}")
    return lines


def main() -> None:
    OUTPUT.write_text(to_json(parse_pages(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
