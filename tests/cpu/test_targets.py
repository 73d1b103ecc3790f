"""The tests of this folder run on the target that their names say."""

from __future__ import annotations

import numpy as np
import pytest

import tilelang
import tilelang.language as T
from tests.cpu import arrays


def test_kernels_run_on_the_target_of_the_test(request: pytest.FixtureRequest):
    @T.prim_func
    def kernel(Z: T.Tensor((8,), "int32")):
        with T.Kernel(1, threads=8):
            for i in T.Parallel(8):
                Z[i] = i

    wanted = request.node.callspec.params["kernel_target"]
    compiled = tilelang.compile(kernel, target=arrays.TARGET)
    assert compiled.target.kind == wanted == tilelang.compile(kernel).target.kind
    assert ("threadIdx" in compiled.get_kernel_source()) == (wanted == "cuda")
    z = np.zeros(8, np.int32)
    arrays.run(kernel, z)
    np.testing.assert_array_equal(z, np.arange(8))
