"""tl_math.h: accuracy over floats of every size, edges, and that the loops vectorise."""

from __future__ import annotations

import ctypes
import math
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

CompileC = Callable[..., ctypes.CDLL]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))


# name: (reference in float64, units in the last place allowed, largest argument)
OWN: dict[str, tuple[Callable, float, float]] = {
    "exp": (np.exp, 1.2, np.inf),
    "exp2": (np.exp2, 1.2, np.inf),
    "exp10": (lambda x: np.power(10.0, x), 1.4, np.inf),
    "log": (np.log, 1.2, np.inf),
    "log2": (np.log2, 1.8, np.inf),
    "log10": (np.log10, 1.9, np.inf),
    "log1p": (np.log1p, 1.8, np.inf),
    "tanh": (np.tanh, 1.5, np.inf),
    "sigmoid": (sigmoid, 2.6, np.inf),
    "erf": (np.vectorize(math.erf, otypes=[np.float64]), 2.0, np.inf),
    "sin": (np.sin, 0.6, 2.0**22),
    "cos": (np.cos, 0.6, 2.0**22),
    "tan": (np.tan, 0.6, 2.0**22),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 1.6, np.inf),
}
LIBRARY = {
    "sinh": np.sinh,
    "cosh": np.cosh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "expm1": np.expm1,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "nearbyint": np.rint,
    "sqrt": np.sqrt,
}


def loops(names: list[str], kinds: tuple[str, ...]) -> str:
    ctype = {"float32": "float", "float64": "double"}
    text = ['#include "tl_math.h"']
    for kind in kinds:
        t = ctype[kind]
        text += [
            f"""
void {name}_{kind}({t} *restrict out, const {t} *restrict in, int64_t n) {{
  #pragma omp simd
  for (int64_t i = 0; i < n; i++) out[i] = tl_{name}_{kind}(in[i]);
}}"""
            for name in names
        ]
    return "\n".join(text)


@pytest.fixture(scope="module")
def library(compile_c: CompileC) -> ctypes.CDLL:
    return compile_c(loops([*OWN, *LIBRARY], ("float32", "float64")))


@pytest.fixture(scope="module")
def portable(compile_c: CompileC) -> ctypes.CDLL:
    flags = ("-march=x86-64",) if platform.machine() == "x86_64" else ()
    return compile_c(loops(list(OWN), ("float32",)), *flags)


def run(library: ctypes.CDLL, name: str, values: np.ndarray) -> np.ndarray:
    out = np.empty_like(values)
    pointer = ctypes.c_void_p
    function = library[f"{name}_{values.dtype.name}"]
    function(pointer(out.ctypes.data), pointer(values.ctypes.data), ctypes.c_int64(values.size))
    return out


def arguments(largest: float) -> np.ndarray:
    """Floats of every exponent and sign, and a dense range where the functions change most."""
    bits = np.arange(0, 2**32, 40009, dtype=np.uint64).astype(np.uint32).view(np.float32)
    dense = np.random.default_rng(0).uniform(-8, 8, 50000).astype(np.float32)
    edges = np.array([0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 88.8, -103.9, 128, -149.5], np.float32)
    values = np.concatenate([bits, dense, edges, np.array([np.inf, -np.inf, np.nan], np.float32)])
    keep = ~np.isfinite(values) | (np.abs(np.nan_to_num(values)) <= largest)
    return values[keep]


@pytest.mark.parametrize("build", ["library", "portable"])
@pytest.mark.parametrize("name", OWN)
def test_error_in_units_in_the_last_place(
    request: pytest.FixtureRequest, build: str, name: str
) -> None:
    reference, allowed, largest = OWN[name]
    values = arguments(largest)
    with np.errstate(all="ignore"):
        got = run(request.getfixturevalue(build), name, values).astype(np.float64)
        exact = reference(values.astype(np.float64))
        rounded = exact.astype(np.float32)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
        finite = np.isfinite(rounded) & np.isfinite(got)
        same = ~finite & ~np.isnan(exact)
        border = np.abs(exact[same]) > 3.4028233e38
        assert (border | (got[same] == rounded[same])).all()
        unit = np.spacing(np.abs(rounded[finite])).astype(np.float64)
        error = np.abs(got[finite] - exact[finite]) / unit
    worst = int(np.argmax(error))
    assert error[worst] <= allowed, (values[finite][worst], error[worst])


@pytest.mark.parametrize("name", ["sin", "tan", "tanh", "erf", "log1p"])
def test_odd_functions_keep_the_sign_of_zero(library: ctypes.CDLL, name: str) -> None:
    out = run(library, name, np.array([0.0, -0.0], np.float32))
    assert np.signbit(out).tolist() == [False, True]


@pytest.mark.parametrize("name", [*OWN, *LIBRARY])
def test_float64_is_as_good_as_numpy(library: ctypes.CDLL, name: str) -> None:
    reference = OWN[name][0] if name in OWN else LIBRARY[name]
    values = np.random.default_rng(1).uniform(-3, 3, 1000)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(run(library, name, values), reference(values), rtol=4e-15)


@pytest.mark.parametrize("name", LIBRARY)
def test_float32_from_the_c_library(library: ctypes.CDLL, name: str) -> None:
    values = np.random.default_rng(2).uniform(-3, 3, 1000).astype(np.float32)
    with np.errstate(all="ignore"):
        exact = LIBRARY[name](values.astype(np.float64))
        np.testing.assert_allclose(run(library, name, values), exact, rtol=4e-7)


def test_own_functions_vectorise(tmp_path: Path, compile_command: list[str]) -> None:
    version = subprocess.run(
        [compile_command[0], "--version"], capture_output=True, text=True
    ).stdout
    if "Free Software Foundation" not in version:
        pytest.skip("the report asked for is gcc's")
    path = tmp_path / "loops.c"
    path.write_text(loops(list(OWN), ("float32",)))
    command = [*compile_command, "-fopt-info-vec-optimized", "-S", str(path)]
    result = subprocess.run([*command, "-o", "-"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = {line.split(":")[1] for line in result.stderr.splitlines() if "loop vectorized" in line}
    assert len(lines) == len(OWN), result.stderr
