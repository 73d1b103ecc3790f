"""Random tile programs through all passes for `cuda`, on the emulator, against the interpreter.

    TILE_PROGRAMS=1000:1200 python -m pytest tests/transform/test_tile_programs.py -k requested

runs the programs of these numbers as well.
"""

from __future__ import annotations

import os

import pytest

from tests.transform.tile_programs import check, program

pytest.importorskip("torch")

CHUNK = 5
CHUNKS = 8  # programs 0 .. CHUNK * CHUNKS - 1
TARGETS = ("cuda -arch=sm_80", "cuda -arch=sm_90a", "cuda -arch=sm_75")
REQUESTED = os.environ.get("TILE_PROGRAMS", "0:0")


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_programs_compute_what_they_mean(chunk):
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        check(program(seed), TARGETS[seed % len(TARGETS)])


@pytest.mark.parametrize("seed", range(*map(int, REQUESTED.split(":"))))
def test_requested_programs(seed):
    check(program(seed), TARGETS[seed % len(TARGETS)])


def test_programs_are_the_same_each_time():
    for seed in range(20):
        first, second = program(seed), program(seed)
        assert first.source == second.source
        assert all((first.inputs[n] == second.inputs[n]).all() for n in first.inputs)


def test_a_fault_in_the_compiler_is_found(monkeypatch):
    """Nests that run no element twice, also where only one thread may write."""
    from tilelang.transform.nests import Partition

    monkeypatch.setattr(Partition, "condition", lambda *_: None)
    with pytest.raises(Exception, match=r"(?s)emulat|seed|bounds|race|differ"):
        for seed in range(10):
            check(program(seed))
