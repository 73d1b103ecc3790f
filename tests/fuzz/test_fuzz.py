"""Random programs, compiled, against the interpreter; and faults of the compiler are found."""

from __future__ import annotations

from itertools import count

import pytest

from tests.fuzz.generate import generate
from tests.fuzz.run import Failure, Modes, arguments_of, check, interpreted, is_defined, traced
from tilelang.ir.expr import as_expr, constant
from tilelang.tileop import clip
from tilelang.tileop.cpu import reduce

CHUNK = 10
CHUNKS = 22  # programs 0 .. CHUNK * CHUNKS - 1
CHECKED_CHUNKS = 2  # of them once more with run-time checks
ON_THE_EMULATOR = range(20)  # programs compiled for CUDA too; `python -m tests.fuzz` runs more


def failures(seeds: range, modes: Modes) -> list[str]:
    """What went wrong in which program."""
    found = []
    for seed in seeds:
        try:
            check(generate(seed), modes)
        except Failure as failure:
            found.append(f"seed {seed}: {failure}")
    return found


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_programs_compute_what_they_mean(chunk):
    seeds = range(chunk * CHUNK, (chunk + 1) * CHUNK)
    assert not failures(seeds, Modes()), "python -m tests.fuzz --seed SEED --count 1 shrinks it"


@pytest.mark.parametrize("chunk", range(CHECKED_CHUNKS))
def test_checked_builds_raise_no_alarm(chunk):
    seeds = range(10_000 + chunk * CHUNK, 10_000 + (chunk + 1) * CHUNK)
    assert not failures(seeds, Modes(sanitize=True))


def test_programs_for_cuda_compute_what_they_mean_on_the_emulator():
    assert not failures(ON_THE_EMULATOR, Modes(target="cuda"))


def test_generated_programs_are_defined_and_reproducible():
    for seed in range(20_000, 20_012):
        program = generate(seed)
        assert generate(seed) == program
        assert is_defined(program), f"seed {seed} reads what nothing wrote"


def test_most_programs_write_something():
    written = 0
    for seed in range(20_000, 20_020):
        program = generate(seed)
        before = arguments_of(program)
        after = interpreted(traced(program), before)
        arrays = [a.name for a in program.arguments if a.shape]
        written += any((before[n] != after[n]).any() for n in arrays)
    assert written >= 15


def clipped_one_too_far(ctx, start, extent, limit, original=clip.inside):
    return original(ctx, start, extent, limit - as_expr(1))


def zero_for_all(op, kind):
    return constant(0, kind)


@pytest.mark.parametrize(
    "module, name, wrong, limit",
    [(clip, "inside", clipped_one_too_far, 10), (reduce, "identity", zero_for_all, 80)],
)
def test_a_fault_in_the_compiler_is_found(monkeypatch, module, name, wrong, limit):
    monkeypatch.setattr(module, name, wrong)
    for seed in count(0):
        assert seed < limit, "no program noticed"
        try:
            check(generate(seed))
        except Failure as failure:
            assert failure.stage == "result"
            return
