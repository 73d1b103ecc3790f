"""`python -m tilelang`: look at the machine and at the kernel cache.

    python -m tilelang doctor [--json]
    python -m tilelang cache list [--all] [--json]
    python -m tilelang cache explain [KEY] [KEY]
    python -m tilelang cache clear [KEY ...] [--older-than AGE] [--all]

In: command lines. Out: text on standard output, and an exit code: 0 when it is as wished, 1 when it
is not, 2 for a command line that makes no sense. All work is done by `tools.doctor` and `cache`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

from tilelang.cache.entry import Listing
from tilelang.cache.explain import differences, kernel_name, nearest
from tilelang.cache.store import Store, all_stores, default_store
from tilelang.env import env

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SHORT = 12  # digits of a key that are shown


class UsageError(Exception):
    """A command that cannot be carried out as it was given."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (UsageError, OSError) as error:
        print(f"tilelang: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tilelang", description="TileLang in Python")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    doctor = commands.add_parser("doctor", help="what was found, what is missing, what to install")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(run=_doctor)
    cache = commands.add_parser("cache", help="look at and clear the kernel cache")
    actions = cache.add_subparsers(required=True, metavar="ACTION")
    shown = actions.add_parser("list", help="all entries, the one used last first")
    shown.add_argument("--json", action="store_true", help="print JSON")
    shown.set_defaults(run=_list)
    explain = actions.add_parser(
        "explain", help="which part of the key differs between two entries",
        description="Which parts of the key differ: between two entries, between one and its "
        "nearest, or (without KEY) between the entry made last and its nearest.",
    )  # fmt: skip
    explain.add_argument("key", nargs="*", metavar="KEY", help="first digits of an entry's key")
    explain.set_defaults(run=_explain)
    clear = actions.add_parser("clear", help="remove entries")
    clear.add_argument("key", nargs="*", metavar="KEY", help="only these")
    clear.add_argument(
        "--older-than", type=_age, metavar="AGE", help="only those unused for AGE: 90s, 2h, 7d, 3w"
    )
    clear.set_defaults(run=_clear)
    for action in (shown, explain, clear):
        action.add_argument("--all", action="store_true", help="of every version and platform")
    return parser


def _age(text: str) -> float:
    try:
        return float(text[:-1]) * _SECONDS[text[-1:]]
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no age; write 90s, 10m, 2h, 7d or 3w"
        ) from None


def _doctor(options: argparse.Namespace) -> int:
    from tilelang.tools import doctor  # the other commands need not look at the machine

    findings = doctor.examine()
    print(doctor.as_json(findings) if options.json else doctor.as_text(findings))
    return 0 if doctor.works(findings) else 1


def _stores(options: argparse.Namespace) -> list[Store]:
    return all_stores(env.cache_dir.absolute()) if options.all else [default_store()]


def _entries(options: argparse.Namespace) -> list[Listing]:
    found = [item for store in _stores(options) for item in store.list()]
    return sorted(found, key=lambda item: -item.used)


def _list(options: argparse.Namespace) -> int:
    entries = _entries(options)
    rows = [_row(item) for item in entries]
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    for item, row in zip(entries, rows):
        size, used = f"{item.size / 1e3:.0f} kB", _ago(item.used)
        state = "" if item.complete else "  damaged"
        print(f"{item.key[:_SHORT]}  {size:>8}  {used:>8}  {row['kernel']}  {row['target']}{state}")
    total = sum(item.size for item in entries) / 1e6
    places = " ".join(str(store.root) for store in _stores(options))
    print(f"{len(entries)} entries, {total:.1f} MB in {places or env.cache_dir}")
    return 0


def _row(item: Listing) -> dict[str, object]:
    parts = item.parts()
    return {
        "key": item.key,
        "kernel": kernel_name(parts),
        "target": parts.get("target", "?"),
        "backend": parts.get("backend", "?"),
        "size": item.size,
        "created": item.created,
        "used": item.used,
        "complete": item.complete,
        "path": str(item.path),
    }


def _ago(moment: float) -> str:
    """Age in the largest unit of which there are two."""
    if moment == 0:
        return "?"
    seconds = max(0.0, time.time() - moment)
    unit = next((u for u, s in reversed(_SECONDS.items()) if seconds >= 2 * s), "s")
    return f"{seconds / _SECONDS[unit]:.0f}{unit} ago"


def _find(entries: Sequence[Listing], prefix: str) -> Listing:
    found = [item for item in entries if item.key.startswith(prefix)]
    if len(found) != 1:
        how_many = "no entry begins" if not found else f"{len(found)} entries begin"
        raise UsageError(f"{how_many} with {prefix!r}")
    return found[0]


def _explain(options: argparse.Namespace) -> int:
    entries = _entries(options)
    if len(options.key) > 2:
        raise UsageError("explain compares two entries")
    chosen = [_find(entries, prefix) for prefix in options.key]
    if not chosen:
        if not entries:
            raise UsageError("the cache is empty")
        chosen = [max(entries, key=lambda item: item.created)]
    if len(chosen) == 1:
        other = nearest(chosen[0].parts(), [e for e in entries if e.key != chosen[0].key])
        if other is None:
            raise UsageError("there is no other entry to compare with")
        chosen.insert(0, other)
    print(_comparison(chosen[0], chosen[1]))
    return 0


def _comparison(first: Listing, second: Listing) -> str:
    lines: list[str] = []
    for sign, item in (("-", first), ("+", second)):
        row = _row(item)
        lines.append(f"{sign} {item.key[:_SHORT]}  {row['kernel']}  {_ago(item.created)}")
    found = differences(first.parts(), second.parts())
    names = ", ".join(d.part for d in found)
    lines.append(f"differ in {names}" if found else "their keys have the same parts")
    return "\n".join([*lines, *map(str, found)])


def _clear(options: argparse.Namespace) -> int:
    removed = 0
    if options.key:
        if options.older_than is not None:
            raise UsageError("give keys or --older-than, not both")
        chosen = {_find(_entries(options), prefix).key for prefix in options.key}
        for store in _stores(options):
            for item in store.list():
                if item.key in chosen:
                    store.discard(item.key)
                    removed += not item.path.exists()
        if removed < len(chosen):
            raise UsageError(f"{len(chosen) - removed} entries could not be removed")
    else:
        removed = sum(store.clear(options.older_than) for store in _stores(options))
    print(f"removed {removed} entries")
    return 0


if __name__ == "__main__":
    sys.exit(main())
