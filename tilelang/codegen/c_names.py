"""Names in generated text: the user's where possible, unique in their scope, never a word of C."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager

from tilelang.ir.expr import Var

_KEYWORDS = """
    auto break case char const continue default do double else enum extern float for goto if
    inline int long register restrict return short signed sizeof static struct switch typedef
    union unsigned void volatile while bool true false asm typeof NULL stdin stdout stderr EOF
    linux unix errno I signbit assert offsetof malloc free size_t
""".split()  # noqa: SIM905 - a list of that many quoted words is hard to read
_TYPES = [f"{u}int{n}_t" for u in ("", "u") for n in (8, 16, 32, 64)]
RESERVED = frozenset((*_KEYWORDS, *_TYPES))


def identifier(name: str) -> str:
    """`name` as something that C accepts and that no header of ours defines."""
    text = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name)
    if not text or text[0].isdigit():
        text = "v_" + text
    is_ours = text.startswith(("tl_", "TL_", "__")) or (text[0] == "_" and text[1:2].isupper())
    return "v_" + text.lstrip("_") if is_ours else text


class Names:
    """Variable -> name. `scope` mirrors a block of the text: its names are free again after it."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._taken: set[str] = {*RESERVED, *reserved}
        self._names: dict[Var, str] = {}
        self._scopes: list[list[str]] = [[]]

    def reserve(self, *names: str) -> None:
        """Keep `names` from being given to variables from now on."""
        self._taken.update(names)

    def fresh(self, wanted: str) -> str:
        """A name like `wanted` that nothing in scope has."""
        base = identifier(wanted)
        name, number = base, 1
        while name in self._taken:
            name, number = f"{base}_{number}", number + 1
        self._taken.add(name)
        self._scopes[-1].append(name)
        return name

    def define(self, var: Var) -> str:
        """The name of a variable that is declared here."""
        name = self._names[var] = self.fresh(var.name)
        return name

    def fresh_forever(self, var: Var) -> str:
        """As `define`, for a name that stays taken when its block ends."""
        name = self.define(var)
        self._scopes[-1].remove(name)
        return name

    def of(self, var: Var) -> str:
        """The name of a variable that has been declared."""
        assert var in self._names, f"`{var.name}` is used before it is declared"
        return self._names[var]

    def knows(self, var: Var) -> bool:
        """Whether the variable has been declared."""
        return var in self._names

    @contextmanager
    def scope(self) -> Generator[None, None, None]:
        """A block: what is declared inside ends with it."""
        self._scopes.append([])
        yield
        self._taken.difference_update(self._scopes.pop())
