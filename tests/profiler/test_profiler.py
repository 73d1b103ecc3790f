"""The profiler on plain functions in the place of kernels."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tilelang.engine.param import KernelParam
from tilelang.ir.dtype import dtype
from tilelang.ir.expr import Var
from tilelang.profiler import Profiler, TensorSupplyType

F32 = dtype("float32")


def params(*shapes: list[Any]) -> list[KernelParam]:
    return [KernelParam(F32, shape) for shape in shapes]


def profiler(adapter: Any = None, result_idx: Any = -1, count: int = 3) -> Profiler:
    listed = params(*([5, 7] for _ in range(count)))
    return Profiler(listed, result_idx, TensorSupplyType.Auto, adapter)


def add(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a + b


def test_inputs_are_the_parameters_that_are_not_returned() -> None:
    shapes = ([1], [2, 2], [3], [4])
    for result_idx, expected in ((None, [1, 4, 3, 4]), (-1, [1, 4, 3]), ([1, -1], [1, 3])):
        made = Profiler(params(*shapes), result_idx, TensorSupplyType.Zero)
        assert [t.numel() for t in made.generate_inputs()] == expected
    with pytest.raises(ValueError, match="result_idx 4 is outside the 4 parameters"):
        Profiler(params(*shapes), [4], TensorSupplyType.Zero)


def test_given_positions_are_not_changed() -> None:
    given = [-1]
    Profiler(params([1], [2]), given, TensorSupplyType.Zero)
    assert given == [-1]


def test_calls_go_to_the_adapter() -> None:
    made = profiler()
    with pytest.raises(ValueError, match="no kernel: call with_default_adapter"):
        made.run_once()
    assert made.with_default_adapter(add) is made
    assert made.run_once().shape == (5, 7)
    one = torch.ones(1)
    assert made(one, one).item() == made.func(one, one).item() == 2
    assert made.run_once(lambda a, b: "mine") == "mine"
    assert made.determine_profiler() == "event"


def test_a_cpu_kernel_gets_cpu_tensors() -> None:
    class Adapter:
        target = SimpleNamespace(kind="c")

        def __call__(self, a: torch.Tensor, b: torch.Tensor) -> str:
            return a.device.type

    assert profiler(Adapter()).run_once() == "cpu"
    assert profiler().with_default_adapter(Adapter()).run_once() == "cpu"


# -- assert_allclose -------------------------------------------------------------------------------


def test_agreement_passes() -> None:
    profiler(add).assert_allclose(lambda a, b: [b + a])


def test_a_wrong_output_is_found() -> None:
    with pytest.raises(AssertionError, match="output 0 of the kernel"):
        profiler(add).assert_allclose(torch.sub)


def test_the_number_of_outputs_must_agree() -> None:
    with pytest.raises(AssertionError, match="returned 1 outputs, the reference 2"):
        profiler(add).assert_allclose(lambda a, b: (a + b, a))


def in_place(a: torch.Tensor, b: torch.Tensor) -> None:
    a += b


def test_results_in_place_are_compared() -> None:
    made = profiler(in_place, result_idx=None, count=2)
    made.assert_allclose(in_place)
    with pytest.raises(AssertionError, match="input 0 of the kernel"):
        made.assert_allclose(lambda a, b: None)
    with pytest.raises(AssertionError, match="input 0 of the kernel"):
        profiler(lambda a, b: None, None, 2).assert_allclose(in_place)


def test_the_callers_tensors_stay_as_they_were() -> None:
    inputs = [torch.ones(3), torch.ones(3)]
    profiler(in_place, None, 2).assert_allclose(in_place, inputs)
    assert all((t == 1).all() for t in inputs)


def test_none_is_skipped_and_other_values_handed_on() -> None:
    made = profiler(lambda a, n: (a * n, None))
    made.assert_allclose(lambda a, n: (a * n, a), [torch.ones(3), 4])


def test_small_floats_are_widened() -> None:
    x = torch.tensor([1.0, -2.0]).to(torch.float8_e4m3fn)
    made = profiler(lambda a: a.clone())
    made.assert_allclose(lambda a: a.clone(), [x])
    with pytest.raises(AssertionError):
        made.assert_allclose(lambda a: (a.float() + 1).to(a.dtype), [x])


def test_strides_of_inputs_are_kept() -> None:
    def kernel(a: torch.Tensor) -> torch.Tensor:
        assert a.stride() == (4, 1)
        return a + 0

    profiler(kernel).assert_allclose(kernel, [torch.ones(3, 4)[:, :2]])
    profiler(add).assert_allclose(add, [torch.ones(1).expand(3), torch.ones(3)])


def test_tolerances_are_handed_on() -> None:
    made = profiler(lambda a, b: a + b + 0.5)
    made.assert_allclose(add, atol=0.6, rtol=0)
    made.assert_allclose(add, atol=0.1, rtol=0, max_mismatched_ratio=1.0)
    with pytest.raises(AssertionError):
        made.assert_allclose(add, atol=0.1, rtol=0)


# -- other checks ----------------------------------------------------------------------------------


def test_manual_check_gets_both_lists() -> None:
    seen: list[Any] = []
    made = profiler(add)
    made.manual_assert_close(torch.sub, None, lambda ours, theirs: seen.extend([ours, theirs]))
    (ours,), (theirs,) = seen
    assert not torch.equal(ours, theirs)
    with pytest.raises(ValueError, match="needs manual_check_prog"):
        made.manual_assert_close(torch.sub)


def test_consistency() -> None:
    calls = itertools.count()
    profiler(lambda a, b: [next(calls) * 0 + a, a * float("nan")]).assert_consistent(4)
    assert next(calls) == 5
    with pytest.raises(AssertionError, match="output 0 of run 3 is not that of the first run"):
        counter = itertools.count()
        profiler(lambda a, b: a + (1e-3 if next(counter) >= 3 else 0)).assert_consistent()


def test_consistency_looks_at_results_in_place() -> None:
    counter = itertools.count()

    def drifting(a: torch.Tensor, b: torch.Tensor) -> None:
        b += next(counter)

    with pytest.raises(AssertionError, match="input 1 of run 1"):
        profiler(drifting, None, 2).assert_consistent(2)
    profiler(in_place, None, 2).assert_consistent(3)


# -- time and sizes --------------------------------------------------------------------------------


def test_bench_times_the_kernel_or_a_function() -> None:
    calls: list[str] = []
    made = profiler(lambda a, b: calls.append("kernel"))
    assert made.do_bench(n_warmup=1, n_repeat=2) >= 0
    assert calls == ["kernel"] * (1 + 5 + 1 + 2)
    quantiles = made.do_bench(lambda a, b: calls.append("other"), quantiles=[0.2, 0.8], n_repeat=3)
    assert isinstance(quantiles, list) and quantiles[0] <= quantiles[1]
    assert calls[-1] == "other"
    with pytest.raises(AssertionError):
        made.do_bench(return_mode="best")
    with pytest.raises(ValueError, match="unknown backend"):
        made.do_bench(backend="rocket")


def test_bench_uses_the_given_tensors() -> None:
    seen: list[Any] = []
    given = [torch.ones(2), torch.zeros(3)]
    profiler(lambda *args: seen.append(args)).do_bench(input_tensors=given, n_warmup=1, n_repeat=1)
    assert all(a is given[0] and b is given[1] for a, b in seen)


def test_symbolic_sizes_come_from_constraints() -> None:
    rows, cols = Var("rows", dtype("int32")), Var("cols", dtype("int32"))
    made = Profiler(
        params([rows, 4], [rows * 2 + 1, cols], [cols]),
        None,
        TensorSupplyType.Uniform,
        lambda *_: None,
    )
    inputs = made.generate_inputs({"rows": 3, "cols": 5})
    assert [tuple(t.shape) for t in inputs] == [(3, 4), (7, 5), (5,)]
    shapes: list[Any] = []
    made.do_bench(
        lambda *args: shapes.append([tuple(a.shape) for a in args]),
        n_warmup=1, n_repeat=1, dynamic_symbolic_constraints={"rows": 2, "cols": 6, "other": 1},
    )  # fmt: skip
    assert shapes[0] == [(2, 4), (5, 6), (6,)]
    with pytest.raises(ValueError, match="only a call determines cols") as caught:
        made.generate_inputs({"rows": 3})
    assert "dynamic_symbolic_constraints" in str(caught.value)
