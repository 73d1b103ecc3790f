"""Which 8-bit floating type the matrix units of this machine's GPU read.

Kernels that are written once for several vendors ask here while they choose their dtypes; PyTorch,
where it is installed, says which platform it was built for. Without it the answer is the OCP type.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from tilelang.errors import ArgumentError
from tilelang.ir.dtype import dtype

if TYPE_CHECKING:
    import torch

_OCP = {"e4m3": "float8_e4m3fn", "e5m2": "float8_e5m2"}
_FNUZ = {"e4m3": "float8_e4m3fnuz", "e5m2": "float8_e5m2fnuz"}


def determine_fp8_type(fp8_format: str = "e4m3") -> dtype:
    """The platform's flavour of `"e4m3"` or `"e5m2"`: `fnuz` on ROCm before gfx950, OCP elsewhere.

    Raises:
        ArgumentError: for another format.
    """
    if fp8_format not in _OCP:
        raise ArgumentError(f"fp8 format: expected 'e4m3' or 'e5m2', got {fp8_format!r}")
    return dtype((_FNUZ if _reads_fnuz() else _OCP)[fp8_format])


def determine_torch_fp8_type(fp8_format: str = "e4m3") -> torch.dtype:
    """The same as a PyTorch type."""
    return determine_fp8_type(fp8_format).as_torch()


def _reads_fnuz() -> bool:
    if find_spec("torch") is None:
        return False
    import torch  # deferred: it is asked about the platform only when a kernel wants to know

    if torch.version.hip is None:
        return False
    if not torch.cuda.is_available():
        return True
    arch = str(torch.cuda.get_device_properties(0).gcnArchName)
    return not arch.startswith("gfx95")
