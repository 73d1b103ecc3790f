"""Arrays for kernels, the target they run on, and how far a result may be from its reference.

What a test folder needs beside the kernel: inputs of any element type with a fixed seed, one call
that compiles and runs, and a comparison whose limit follows from type and length of a sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tilelang
import tilelang.language as T

TARGET = "c"
ON_DEVICE = False  # arguments travel to a GPU and back
EPSILON = {
    "float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7,
    "tfloat32": 2.0**-10,
}  # fmt: skip


def storage(dtype: str) -> np.dtype:
    """The NumPy type whose arrays hold elements of `dtype`."""
    return T.dtype(dtype).as_numpy()


def run(kernel: Any, *arguments: Any, **options: Any) -> Any:
    """Compile `kernel` for the target of the test (see `conftest`) and call it."""
    compiled = tilelang.compile(kernel, target=TARGET, **options)
    return _on_device(compiled, arguments) if ON_DEVICE else compiled(*arguments)


def _on_device(kernel: Any, arguments: Any) -> Any:
    """Call `kernel` on copies of the arrays in device memory, and copy what it wrote back."""
    import torch

    def there(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        raw = torch.from_numpy(np.ascontiguousarray(value).reshape(-1).view(np.uint8)).cuda()
        return raw.view(T.dtype(value.dtype).as_torch()).reshape(value.shape)

    def here(value: Any, like: np.ndarray | None = None) -> np.ndarray:
        kind = like.dtype if like is not None else storage(str(value.dtype).removeprefix("torch."))
        raw = value.contiguous().reshape(-1).view(torch.uint8).cpu().numpy()
        return raw.view(kind).reshape(tuple(value.shape))

    known = {id(a): there(a) for a in arguments}  # an array given twice stays one
    moved = [known[id(a)] for a in arguments]
    result = kernel(*moved)
    for array, tensor in zip(arguments, moved):
        if isinstance(array, np.ndarray) and array.size:
            array[...] = here(tensor, array)
    if isinstance(result, torch.Tensor):
        return here(result)
    return [here(r) for r in result] if isinstance(result, (list, tuple)) else result


def product_type(dtype: str) -> str:
    """The type in whose roundings a product of `dtype` is near: tensor cores take `tfloat32`."""
    return "tfloat32" if TARGET == "cuda" and dtype == "float32" else "float32"


def random(shape: Any, dtype: str = "float32", seed: int = 0, high: int = 5) -> np.ndarray:
    """Normal values for floats (rounded to `dtype`), -high..high-1 or 0..high-1 for integers."""
    rng, kind = np.random.default_rng(seed), T.dtype(dtype)
    if kind.is_bool:
        return rng.integers(0, 2, shape).astype(bool)
    if kind.is_int:
        low = 0 if dtype.startswith("u") else -high
        return rng.integers(low, high, shape).astype(storage(dtype))
    return rng.standard_normal(shape).astype(np.float32).astype(storage(dtype))


def wide(array: np.ndarray) -> np.ndarray:
    """The same values in the widest type of their kind."""
    return array.astype(np.int64 if array.dtype.kind in "biu" else np.float64)


def assert_near(actual: np.ndarray, expected: np.ndarray, dtype: str, magnitude: Any) -> None:
    """Within a few roundings in `dtype` of terms whose absolute values add up to `magnitude`."""
    limit = 4 * EPSILON[dtype] * np.asarray(magnitude, np.float64) + 1e-30
    error = np.abs(wide(actual) - expected)
    assert (error <= limit).all(), f"error {error.max()} over {limit[error > limit][:3]}"
