"""Whether two tensors agree.

In: two PyTorch tensors and tolerances, from users, `Profiler` and tests. Out: `True`, or an
`AssertionError` that says where they differ first and most. It runs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def torch_assert_close(
    tensor_a: Any,
    tensor_b: Any,
    rtol: float = 1e-2,
    atol: float = 1e-3,
    max_mismatched_ratio: float = 0.001,
    verbose: bool = False,
    equal_nan: bool = True,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    base_name: str = "LHS",
    ref_name: str = "RHS",
) -> bool:
    """Require |a - b| <= atol + rtol * |b| for all but a share of the elements.

    Args:
        tensor_a: the tensor in question, called `base_name` in messages.
        tensor_b: the one it should equal, called `ref_name`.
        max_mismatched_ratio: share of the elements that may differ more, rounded down to a count.
        equal_nan: NaN equals NaN.
        verbose: print the number of mismatches even when it is allowed.

    Returns:
        True.

    Raises:
        AssertionError: when shapes, one of the checked properties, or too many elements differ.
    """
    checks = (("device", check_device), ("dtype", check_dtype), ("layout", check_layout))
    properties = ["shape", *(name for name, wanted in checks if wanted)]
    for name in properties:
        _require_equal(name, getattr(tensor_a, name), getattr(tensor_b, name), base_name, ref_name)
    if check_stride:
        _require_equal("stride", tensor_a.stride(), tensor_b.stride(), base_name, ref_name)
    wrong = mismatches(tensor_a, tensor_b, rtol, atol, equal_nan)
    count, total = int(wrong.sum().item()), wrong.numel()
    allowed = int(total * max_mismatched_ratio)
    if verbose:
        print(f"{count} of {total} elements differ, {allowed} may")
    if count > allowed:
        raise AssertionError(
            _describe(tensor_a, tensor_b.to(tensor_a.device), wrong, base_name, ref_name)
            + f"\nallowed: {allowed} mismatches at rtol={rtol}, atol={atol}"
        )
    return True


def _require_equal(name: str, first: Any, second: Any, base_name: str, ref_name: str) -> None:
    if first != second:
        raise AssertionError(f"{name} differs: {base_name} {first}, {ref_name} {second}")


def mismatches(
    a: torch.Tensor, b: torch.Tensor, rtol: float, atol: float, equal_nan: bool = True
) -> torch.Tensor:
    """Boolean tensor: where |a - b| > atol + rtol * |b|. Tensors of equal shape."""
    b = b.to(a.device)
    x, y = _wide(a), _wide(b)
    close = (x - y).abs() <= atol + rtol * y.abs()
    # An infinite element agrees with its like only; inf - inf and inf <= inf would mislead.
    close = close & x.isfinite() & y.isfinite() | _same(a, b)
    if equal_nan:
        close = close | (x.isnan() & y.isnan())
    return ~close


def _same(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Equality in the tensors' own type when they share one: float64 rounds large integers."""
    exact = a.dtype == b.dtype and not a.dtype.is_floating_point
    if exact and a.dtype.itemsize == 1:
        return _wide(a) == _wide(b)
    if exact:
        return a == b
    return _wide(a) == _wide(b)


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    """Values as float64 on the CPU or a CUDA device, float32 where there is no float64."""
    import torch

    if str(tensor.dtype).startswith("torch.float4"):
        # Packed: two codes a byte, compared as codes.
        tensor = tensor.view(torch.uint8)
    if tensor.dtype.itemsize == 1 and tensor.dtype.is_floating_point:
        tensor = tensor.to(torch.float32)
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def _describe(
    a: torch.Tensor, b: torch.Tensor, wrong: torch.Tensor, base_name: str, ref_name: str
) -> str:
    """Count, first mismatch, and the largest differences among the mismatches."""
    x, y = _wide(a), _wide(b)
    gap = (x - y).abs().masked_fill(~wrong, 0).nan_to_num(float("inf"), float("inf"))
    relative = (gap / y.abs()).masked_fill(~wrong, 0).nan_to_num(float("inf"), float("inf"))
    count = int(wrong.sum().item())
    index = _position(int(wrong.flatten().int().argmax().item()), wrong.shape)
    worst = _position(int(gap.flatten().argmax().item()), wrong.shape)
    return "\n".join(
        (
            f"{base_name} and {ref_name} differ in {count} of {wrong.numel()} elements",
            f"first at {index}: {x[index].item():.9g} and {y[index].item():.9g}",
            f"largest absolute difference {gap.max().item():.9g} at {worst}",
            f"largest relative difference {relative.max().item():.9g}",
        )
    )


def _position(flat: int, shape: Any) -> tuple[int, ...]:
    position: list[int] = []
    for extent in reversed(shape):
        flat, inner = divmod(flat, extent)
        position.append(inner)
    return tuple(reversed(position))
