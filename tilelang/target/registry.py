"""Target kinds, one row each, and the choice of one when the user leaves it to us."""

from __future__ import annotations

import difflib
from typing import Any

from tilelang.env import env
from tilelang.errors import TargetError
from tilelang.target.c import C_TARGET
from tilelang.target.cuda import CUDA_TARGET
from tilelang.target.target import Target, TargetRow, load

TARGETS: dict[str, TargetRow] = {row.kind: row for row in (C_TARGET, CUDA_TARGET)}


def unknown_target(kind: str) -> TargetError:
    """The error for a kind that has no row."""
    near = difflib.get_close_matches(kind, [*TARGETS, "auto"], n=1)
    hint = f"did you mean {near[0]!r}?" if near else "target='auto' takes what this machine has"
    return TargetError(
        f"unknown target {kind!r}; this build has {', '.join(sorted(TARGETS))}", hint=hint
    )


def determine_target(target: Any = "auto", return_object: bool = True) -> Any:
    """The target that `target` means, completed with what this machine's device is.

    `"auto"` (or `None`) is: the target context, the environment's default, then the first kind
    whose device is found, accelerators first; a machine without one compiles for `c`.

    Raises:
        TargetError: for an unknown kind.
    """
    found = _complete(_choose(target))
    return found if return_object else str(found)


def _choose(target: Any) -> Target:
    if target is None:
        target = "auto"
    if isinstance(target, str) and target == "auto":
        context = Target.current()
        if context is not None:
            return context
        target = env.target
    if isinstance(target, str) and target == "auto":
        for row in TARGETS.values():
            if row.kind != "c" and row.probe is not None and load(row.probe)() is not None:
                return Target(row.kind)
        return Target("c")
    return Target(target)


def _complete(target: Target) -> Target:
    if target.row.probe is None:
        return target
    found = load(target.row.probe)() or {}
    missing = {k: v for k, v in found.items() if target.option(k) is None}
    return target.with_options(**missing) if missing else target
