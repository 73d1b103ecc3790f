"""Device source and lowered modules -> library text for HIP: what differs from CUDA."""

from __future__ import annotations

from typing import ClassVar

from tilelang.errors import TargetError
from tilelang.jit.adapter import wrapper_templates as templates
from tilelang.jit.adapter.wrapper_cuda import TLCUDASourceWrapper


class TLHIPSourceWrapper(TLCUDASourceWrapper):
    """A wrapper class for the TileLang HIP backend."""

    TYPE_MAP: ClassVar[dict[str, str]] = {
        **TLCUDASourceWrapper.TYPE_MAP,
        "float8_e4m3fnuz": "fp8_e4_t",
        "float8_e5m2fnuz": "fp8_e5_t",
    }
    RUNTIME: ClassVar[str] = "hip"
    HEADER: ClassVar[str] = "hip/hip_runtime.h"

    def get_init_func(self) -> str:
        """Text of `init`, which refuses kernels beyond 64 KiB, and of `get_last_error`."""
        return super().get_init_func()  # one body for both; the check of a kernel differs

    def _shared_memory_text(self, kernel: str, size: int) -> str:
        text = templates.PREDEF_ATTRIBUTE_SET_DYNAMIC_MEMORY_HIP.format(kernel, size)
        return text.replace("    return 0;\n", "")  # it would end `init` after the first kernel

    def get_stream_type(self) -> dict[str, str]:
        """Name (with its default) and type of the stream parameter."""
        return {"name": "stream=hipStreamDefault", "type": "hipStream_t"}

    def parse_source_information(self) -> None:
        """As for CUDA.

        Raises:
            TargetError: for tensor maps and L2 windows, which these devices do not have.
        """
        super().parse_source_information()
        if self._tensor_maps or self.l2_persistent_map:
            what = "tensor maps" if self._tensor_maps else "persisting L2 windows"
            host = self._host()
            raise TargetError(f"`{host.name}`: the target `hip` has no {what}", host.span)
