"""Files that show one failure: the kernel, its arguments, and what went wrong."""

from __future__ import annotations

import argparse
from dataclasses import astuple
from pathlib import Path

from tests.fuzz.generate import Argument, Program
from tests.fuzz.isolate import failure_of
from tests.fuzz.run import Failure, Modes, check, is_defined
from tests.fuzz.shrink import shrink

_FOOTER = """
# {message}
# name, kind, shape, low, high, grid (steps of 2**-grid), role, tolerance
ARGUMENTS = [
{arguments}
]

if __name__ == "__main__":
    from tests.fuzz.reproduce import replay

    replay(__file__, seed={seed}, arguments=ARGUMENTS)
"""


def write(folder: Path, program: Program, failure: Failure) -> Path:
    """A runnable file: `PYTHONPATH=. python FILE` in the repository's root."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"fuzz_{program.seed}_{failure.stage}.py"
    arguments = "\n".join(f"    {astuple(a)!r}," for a in program.arguments)
    message = str(failure).replace("\n", "\n# ")
    footer = _FOOTER.format(message=message, arguments=arguments, seed=program.seed)
    path.write_text(program.source + footer, encoding="utf-8")
    return path


def replay(file: str, seed: int, arguments: list[tuple]) -> None:
    """Run the program of a reproducer again, plain and with run-time checks.

    Raises:
        Failure: as `check`; a run that returns did not fail.
    """
    parser = argparse.ArgumentParser(description="run this program again")
    parser.add_argument("--flags", default="-O1")
    given = parser.parse_args()
    source = Path(file).read_text(encoding="utf-8").partition("\n# ")[0] + "\n"
    program = Program(seed, source, tuple(Argument(*a) for a in arguments))
    for sanitize in (False, True):
        check(program, Modes(given.flags, sanitize=sanitize))
    print("no failure")


def shrunk(program: Program, failure: Failure, modes: Modes) -> Program:
    """A smaller program that fails at the same stage, with as large an error."""

    def fails(candidate: Program) -> bool:
        other = failure_of(candidate, modes)
        if other is None or not _is_same(other, failure):
            return False
        return _means_something(candidate, failure)

    return shrink(program, fails)


def _is_same(other: Failure, failure: Failure) -> bool:
    wrong_code = ("result", "crash")  # an access outside shows as either
    if failure.stage in wrong_code:
        return other.stage in wrong_code
    return other.stage == failure.stage and _kind(other) == _kind(failure)


def _kind(failure: Failure) -> str:
    """The error's type and the first words of it, without names and numbers."""
    words = failure.message.split()
    return " ".join(w for w in words[:12] if w.isalpha() or w.endswith(":"))[:60]


def _means_something(program: Program, failure: Failure) -> bool:
    if failure.stage in ("trace", "interpret"):
        return True
    try:
        return is_defined(program)
    except Failure:
        return False
