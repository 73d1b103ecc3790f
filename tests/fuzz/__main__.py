"""`python -m tests.fuzz --count N --seed S`: run programs, write a small reproducer per failure.

Exit status 1 when a program failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.generate import Program, generate
from tests.fuzz.isolate import failure_of, load_compiler
from tests.fuzz.reproduce import shrunk, write
from tests.fuzz.run import FLAGS, Failure, Modes

FOLDER = Path(tempfile.gettempdir()) / "tilelang-fuzz"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="number of programs")
    parser.add_argument("--seed", type=int, default=0, help="number of the first")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failure")
    parser.add_argument("--sanitize", action="store_true", help="also with run-time checks")
    parser.add_argument("--no-shrink", action="store_true", help="leave failures as they are")
    parser.add_argument("--show", action="store_true", help="print the programs, run nothing")
    parser.add_argument("--target", default="c", help="c, or cuda: on the emulator")
    parser.add_argument("--flags", default=FLAGS, help="flags of the C compiler")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where reproducers go")
    given = parser.parse_args()
    modes = Modes(given.flags, sanitize=given.sanitize, target=given.target)
    if not given.show:
        load_compiler()
    started, failures = time.perf_counter(), 0
    for seed in range(given.seed, given.seed + given.count):
        program = generate(seed)
        if given.show:
            print(f"# seed {seed}\n{program.source}")
            continue
        failure = failure_of(program, modes)
        if failure is None:
            continue
        failures += 1
        print(f"seed {seed}: {failure}", flush=True)
        print(f"  {_reproducer(program, failure, modes, given)}", flush=True)
        if not given.keep_going:
            break
    print(f"{failures} failures, {time.perf_counter() - started:.0f} s", file=sys.stderr)
    return 1 if failures else 0


def _reproducer(
    program: Program, failure: Failure, modes: Modes, given: argparse.Namespace
) -> Path:
    if not given.no_shrink:
        program = shrunk(program, failure, modes)
        failure = failure_of(program, modes) or failure
    return write(given.out, program, failure)


if __name__ == "__main__":
    sys.exit(main())
