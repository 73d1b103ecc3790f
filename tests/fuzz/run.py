"""Runs one generated program, compiled, against the interpreter of its tile form.

A program for CUDA runs on the emulator. `check(program)` raises `Failure` with the stage that
failed: "trace", "interpret", "compile", "call", or "result". Inputs are random, outputs are
poisoned before the call.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np
import torch

import tests.interpreter as interpreter
import tilelang
from tests.fuzz.generate import Argument, Program
from tilelang.env import env
from tilelang.ir.func import PrimFunc
from tilelang.language.script import from_script

FLAGS = "-O1"  # compile time dominates a run; -O3 is what all other tests use
Arrays = dict[str, Any]


@dataclass
class Failure(Exception):
    """A program that did not do what it means."""

    stage: str
    message: str

    def __str__(self) -> str:
        return f"{self.stage}: {self.message}"


@dataclass(frozen=True)
class Modes:
    """How a program is run."""

    flags: str = FLAGS
    sanitize: bool = False  # once more with run-time checks, which must stay silent
    verify: bool = True  # the IR verifier between all passes
    target: str = "c"


def numpy_type(kind: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind)


def arguments_of(program: Program, seed: int = 0) -> Arrays:
    """Random arrays and numbers by parameter name."""
    rng = np.random.default_rng([program.seed, seed])
    return {a.name: _argument(a, rng) for a in program.arguments}


def _argument(a: Argument, rng: np.random.Generator) -> Any:
    element = numpy_type(a.kind)
    if a.role == "out":
        return np.full(a.shape or (), _poison(a.kind), element)
    step = 2.0**a.grid
    whole = rng.integers(round(a.low * step), round(a.high * step) + 1, a.shape or ())
    if a.shape is None:
        return float(whole / step) if a.kind.startswith("float") else int(whole)
    return (whole / step).astype(element) if step != 1 else whole.astype(element)


def _poison(kind: str) -> Any:
    if kind.startswith(("float", "bfloat")):
        return np.nan
    return kind == "bool" or 77


def traced(program: Program) -> PrimFunc:
    """The program's text, run through the front end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            func = from_script(program.source, f"<fuzz-{program.seed}>")
        except Exception as error:
            raise Failure("trace", _told(error)) from error
    assert isinstance(func, PrimFunc)
    return func


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def interpreted(func: PrimFunc, inputs: Mapping[str, Any]) -> Arrays:
    """The arrays after interpreting the tile form."""
    arrays = _copied(inputs)
    try:
        interpreter.run(func, arrays)
    except Exception as error:
        raise Failure("interpret", _told(error)) from error
    return arrays


def _copied(inputs: Mapping[str, Any]) -> Arrays:
    return {n: x.copy() if isinstance(x, np.ndarray) else x for n, x in inputs.items()}


def compiled_run(func: PrimFunc, inputs: Mapping[str, Any], modes: Modes) -> Arrays:
    """The arrays after compiling and calling the kernel."""
    arrays = _copied(inputs)
    with (
        warnings.catch_warnings(),
        env.scope(
            TILELANG_DISABLE_CACHE=True,
            TILELANG_VERIFY=modes.verify,
            TILELANG_SANITIZE=modes.sanitize,
            TILELANG_EMULATE=True,
        ),
    ):
        warnings.simplefilter("ignore")
        try:
            flags = modes.flags if modes.target == "c" else None
            kernel = tilelang.compile(func, target=modes.target, compile_flags=flags)
        except Exception as error:
            raise Failure("compile", _told(error)) from error
        try:
            kernel(*(_passed(arrays[p.name]) for p in func.params))
        except Exception as error:
            raise Failure("call", _told(error)) from error
    return arrays


def _passed(value: Any) -> Any:
    """A tensor over an array's memory."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(value.view(np.int16)).view(torch.bfloat16)
    if value.dtype.kind == "u" and value.dtype.itemsize > 1:
        signed = torch.from_numpy(value.view(f"int{8 * value.dtype.itemsize}"))
        return signed.view(getattr(torch, str(value.dtype)))
    return torch.from_numpy(value)


def compare(program: Program, got: Arrays, want: Arrays, what: str) -> None:
    """Require equal arrays within each parameter's tolerance.

    Raises:
        Failure: naming the first elements that differ.
    """
    for a in program.arguments:
        if a.shape is None:
            continue
        worst = distance(got[a.name], want[a.name])
        bad = np.argwhere(~(worst <= a.tolerance))
        if len(bad):
            raise Failure("result", _difference(a, got[a.name], want[a.name], bad, what))


def distance(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """How far elements are apart; NaN equals NaN, and is infinitely far from all else."""
    x, y = got.astype(np.float64), want.astype(np.float64)
    if got.dtype.kind in "iu" and got.dtype.itemsize == 8:
        return (got != want).astype(np.float64)
    with np.errstate(all="ignore"):
        far = np.abs(x - y)
    far[np.isnan(far)] = np.inf
    far[(x == y) | (np.isnan(x) & np.isnan(y))] = 0
    return far


def _difference(a: Argument, got: np.ndarray, want: np.ndarray, bad: np.ndarray, what: str) -> str:
    shown = []
    for where in bad[:4]:
        place = tuple(int(i) for i in where)
        shown.append(f"{a.name}{list(place)} is {got[place]}, expected {want[place]}")
    return (
        f"{what}: {len(bad)} of {got.size} elements of {a.name} ({a.kind}, {a.role}, "
        f"tolerance {a.tolerance:g}) differ: {'; '.join(shown)}"
    )


def check(program: Program, modes: Modes = Modes()) -> None:
    """Trace, interpret, compile, run and compare.

    Raises:
        Failure: for the first thing that goes wrong.
    """
    func = traced(program)
    inputs = arguments_of(program)
    want = interpreted(func, inputs)
    compare(program, compiled_run(func, inputs, modes), want, "compiled")
    if modes.sanitize:
        plain = replace(modes, sanitize=False)
        compare(program, compiled_run(func, inputs, plain), want, "compiled without checks")


def is_defined(program: Program) -> bool:
    """Whether the program reads nothing that it has not written: two poisons give one result."""
    func, inputs = traced(program), arguments_of(program)
    first = interpreted(func, inputs)
    original = interpreter.Memory.fresh

    def other_poison(kind: Any, count: int) -> interpreter.Memory:
        value: Any = 3.0 if kind.is_float else random.Random(count).randint(0, 1)
        return interpreter.Memory(np.full(count, value, dtype=interpreter.storage_dtype(kind)))

    interpreter.Memory.fresh = staticmethod(other_poison)  # type: ignore[method-assign]
    try:
        second = interpreted(func, inputs)
    finally:
        interpreter.Memory.fresh = original  # type: ignore[method-assign]
    arrays = [n for n, x in first.items() if isinstance(x, np.ndarray)]
    return all(not distance(first[n], second[n]).any() for n in arrays)
