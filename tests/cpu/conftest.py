"""Every kernel of this folder runs on each target: on `c`, and on `cuda` by the emulator.

`--kernels all` runs all tests on both, `--kernels cuda` on CUDA alone, `--kernels device` on an
NVIDIA GPU; by default CUDA takes a part
of the parameters of each test, a part that is the same every time. What cannot run there is in
`ONLY_ON_THE_CPU`, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.compile_for import compiling_for
from tests.cpu import arrays
from tilelang.env import env

ONLY_ON_THE_CPU = {
    "test_extern.py": "imports C source, hooks into the C text, flags of the C compiler",
    "test_memory.py::test_pointers_tables_of_pointers_and_addresses":
        "addresses travel as numbers, and the emulator has its own memory",
    "test_reduce.py::test_empty_identities_of_extreme_values":
        "addresses travel as numbers; scalar reads of fragments, which have owners on a GPU",
}  # fmt: skip
NOT_ON_A_DEVICE = {
    "test_print.py": "a trap ends the context of the whole process; what is printed comes late",
    "test_styles.py": "hands host arrays to kernels that it compiles itself",
    "test_pinned.py::test_20_packed_outputs": "the same",
    "test_memory.py::test_torch_tensors_of_every_type": "the same",
}
PARTS = 4  # by default CUDA runs every fourth set of parameters of a test, the first included


def reason_against(name: str, function: str, on_device: bool) -> str | None:
    """Why a test does not run on `cuda`: nowhere, or not on a device."""
    reasons = {**ONLY_ON_THE_CPU, **(NOT_ON_A_DEVICE if on_device else {})}
    return reasons.get(name) or reasons.get(f"{name}::{function}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    wanted = metafunc.config.getoption("--kernels")
    targets = {"cuda": ["cuda"], "device": ["cuda"]}.get(wanted, ["c", "cuda"])
    file = metafunc.module.__file__.rpartition("/")[2]
    if reason_against(file, metafunc.function.__name__, wanted == "device"):
        targets = [t for t in targets if t == "c"]
    metafunc.parametrize("kernel_target", targets, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--kernels") != "some":
        return
    seen: dict[str, int] = {}
    kept, left_out = [], []
    for item in items:
        call = getattr(item, "callspec", None)
        if call is None or call.params.get("kernel_target") != "cuda":
            kept.append(item)
            continue
        key = item.nodeid.partition("[")[0]
        number = seen[key] = seen.get(key, -1) + 1
        (kept if number % PARTS == 0 else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


@pytest.fixture(autouse=True)
def kernel_target(request: pytest.FixtureRequest) -> Iterator[str]:
    """The target that `arrays.run` and `tilelang.compile(target="auto")` take."""
    arrays.TARGET = request.param
    arrays.ON_DEVICE = request.config.getoption("--kernels") == "device"
    archs = request.config.getoption("--compile-for")
    with (
        env.scope(TILELANG_TARGET=request.param, TILELANG_EMULATE=not arrays.ON_DEVICE),
        compiling_for(archs.split(",")) if archs else nullcontext(),
    ):
        yield request.param
    arrays.TARGET, arrays.ON_DEVICE = "c", False
