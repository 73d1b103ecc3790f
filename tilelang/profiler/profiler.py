"""Checks and times a kernel on generated inputs.

In: a kernel's parameters and something to call, from `JITKernel.get_profiler` or a user. Out:
passed or failed checks, milliseconds. Kernel and reference each get a copy of the inputs of their
own, so what either does in place is compared too. It compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tilelang.engine.param import KernelParam
from tilelang.errors import ArgumentError
from tilelang.ir.expr import Expr, const_value
from tilelang.ir.visitor import substitute, used_vars
from tilelang.profiler.bench import do_bench
from tilelang.profiler.compare import torch_assert_close
from tilelang.profiler.supply import TensorSupplyType, get_tensor_supply

if TYPE_CHECKING:
    import torch


@dataclass
class Profiler:
    """A kernel with a way to make its inputs.

    Attributes:
        params: one per kernel parameter, in order, outputs included.
        result_idx: positions of the parameters that the kernel returns instead of taking.
        supply_type: what generated inputs look like.
        adapter: what is called; takes the inputs, returns the outputs.
    """

    params: list[KernelParam]
    result_idx: list[int] | int | None
    supply_type: TensorSupplyType
    adapter: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        self.result_idx = _positions(self.result_idx, len(self.params))
        self.supply = get_tensor_supply(self.supply_type, self._device())

    def _device(self) -> str | None:
        """The CPU for a kernel of a CPU target, otherwise left to PyTorch."""
        target = getattr(self.adapter, "target", None)
        return "cpu" if getattr(target, "kind", None) in ("c", "llvm") else None

    def with_default_adapter(self, adapter: Callable[..., Any]) -> Profiler:
        """Call `adapter` from now on; returns this profiler."""
        self.adapter = adapter
        self.supply = get_tensor_supply(self.supply_type, self._device())
        return self

    @property
    def func(self) -> Callable[..., Any]:
        """What is called.

        Raises:
            ArgumentError: when there is no adapter.
        """
        if self.adapter is None:
            raise ArgumentError("the profiler has no kernel: call with_default_adapter first")
        return self.adapter

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.func(*args, **kwargs)

    # -- inputs -----------------------------------------------------------------------------------

    def generate_inputs(
        self, dynamic_symbolic_constraints: Mapping[str, int] | None = None
    ) -> list[torch.Tensor]:
        """A tensor for each parameter that the kernel takes.

        Raises:
            ArgumentError: for a scalar, or a size that no constraint gives.
        """
        sizes = dynamic_symbolic_constraints or {}
        return [self.supply(bind_sizes(param, sizes)) for param in self._taken()]

    def _taken(self) -> list[KernelParam]:
        returned = _positions(self.result_idx, len(self.params))
        return [param for i, param in enumerate(self.params) if i not in returned]

    def _inputs(self, given: Sequence[Any] | None) -> list[Any]:
        return self.generate_inputs() if given is None else list(given)

    # -- checks -----------------------------------------------------------------------------------

    def assert_allclose(
        self,
        reference_program: Callable[..., Any],
        input_tensors: Sequence[Any] | None = None,
        atol: float = 1e-2,
        rtol: float = 1e-2,
        max_mismatched_ratio: float = 0.01,
    ) -> None:
        """Require the kernel's outputs, and its inputs afterwards, to be those of the reference.

        Each runs on a copy of the inputs. Pairs with `None` on either side are skipped.

        Raises:
            AssertionError: when values differ, or the numbers of outputs do.
        """
        ours, expected = self._both(reference_program, self._inputs(input_tensors))
        labels = [*(f"input {i}" for i in range(len(ours[0])))]
        labels += [f"output {i}" for i in range(len(ours[1]))]
        if len(ours[1]) != len(expected[1]):
            raise AssertionError(
                f"the kernel returned {len(ours[1])} outputs, the reference {len(expected[1])}"
            )
        for label, a, b in zip(labels, [*ours[0], *ours[1]], [*expected[0], *expected[1]]):
            if _is_tensor(a) and _is_tensor(b):
                torch_assert_close(
                    _widened(a), _widened(b), rtol, atol, max_mismatched_ratio,
                    base_name=f"{label} of the kernel", ref_name=f"{label} of the reference",
                )  # fmt: skip

    def manual_assert_close(
        self,
        reference_program: Callable[..., Any],
        input_tensors: Sequence[Any] | None = None,
        manual_check_prog: Callable[[list[Any], list[Any]], Any] | None = None,
    ) -> None:
        """Hand the kernel's outputs and the reference's outputs to `manual_check_prog`.

        Raises:
            ArgumentError: when there is no `manual_check_prog`.
        """
        if manual_check_prog is None:
            raise ArgumentError("manual_assert_close needs manual_check_prog(outputs, expected)")
        ours, expected = self._both(reference_program, self._inputs(input_tensors))
        manual_check_prog(ours[1], expected[1])

    def assert_consistent(self, repeat: int = 10) -> None:
        """Require `repeat` further runs on equal inputs to give the same bits, in place too.

        Raises:
            AssertionError: when one does not.
        """
        inputs = self.generate_inputs()
        first = _run(self.func, inputs)
        for number in range(1, repeat + 1):
            again = _run(self.func, inputs)
            for i, (a, b) in enumerate(zip([*first[0], *first[1]], [*again[0], *again[1]])):
                if _is_tensor(a) and not _identical(a, b):
                    where = f"input {i}" if i < len(first[0]) else f"output {i - len(first[0])}"
                    raise AssertionError(f"{where} of run {number} is not that of the first run")

    def _both(self, reference: Callable[..., Any], inputs: list[Any]) -> tuple[_Result, _Result]:
        expected = _run(reference, inputs)
        return _run(self.func, inputs), expected

    def run_once(self, func: Callable[..., Any] | None = None) -> Any:
        """One call of `func` (the kernel) on generated inputs; its result."""
        return (func or self.func)(*self.generate_inputs())

    # -- time -------------------------------------------------------------------------------------

    def determine_profiler(self, func: Callable[..., Any] | None = None) -> str:
        """What `do_bench` times `func` with by default."""
        return "event"

    def do_bench(
        self,
        func: Callable[..., Any] | None = None,
        warmup: float = 25,
        rep: float = 100,
        n_warmup: int = 0,
        n_repeat: int = 0,
        input_tensors: Sequence[Any] | None = None,
        backend: str = "event",
        quantiles: Sequence[float] | float | None = None,
        return_mode: str = "mean",
        dynamic_symbolic_constraints: Mapping[str, int] | None = None,
        device: object = None,
        early_stop_baseline: float | None = None,
    ) -> float | list[float]:
        """Milliseconds of `func` (the kernel) on given or generated inputs.

        Args:
            dynamic_symbolic_constraints: size of each symbolic dimension, by name.
            device: where to make the inputs and how to time; by default as the inputs are.

        The other arguments are those of `tilelang.profiler.do_bench`.
        """
        if device is not None:
            self.supply = get_tensor_supply(self.supply_type, device)
        inputs = (
            list(input_tensors)
            if input_tensors is not None
            else self.generate_inputs(dynamic_symbolic_constraints)
        )
        call = func or self.func
        return do_bench(
            lambda: call(*inputs), warmup, rep, n_warmup, n_repeat, quantiles, backend=backend,
            return_mode=return_mode, device=device or _device_of(inputs),
            early_stop_baseline=early_stop_baseline,
        )  # fmt: skip


_Result = tuple[list[Any], list[Any]]  # the inputs after the call, the outputs


def _run(function: Callable[..., Any], inputs: Sequence[Any]) -> _Result:
    """Call `function` on a copy of the inputs."""
    copies = [_copy(value) for value in inputs]
    result = function(*copies)
    if result is None:
        return copies, []
    return copies, list(result) if isinstance(result, (list, tuple)) else [result]


def _copy(value: Any) -> Any:
    """A copy with the strides of the original; other values are handed on."""
    if not _is_tensor(value):
        return value
    import torch

    if 0 in value.stride():
        return value.clone()  # elements that share storage cannot be written one by one
    copy = torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device=value.device)
    return copy.copy_(value)


def _is_tensor(value: Any) -> bool:
    import sys

    torch = sys.modules.get("torch")  # no tensor without it
    return torch is not None and isinstance(value, torch.Tensor)


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    from tilelang.profiler.supply import is_float8_dtype

    return tensor.float() if is_float8_dtype(tensor.dtype) else tensor


def _identical(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal bit for bit, NaN included."""
    import torch

    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    x, y = (t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(x, y)


def _device_of(inputs: Sequence[Any]) -> str | None:
    """Type of device that the tensors are on; `None` when there is none."""
    return next((value.device.type for value in inputs if _is_tensor(value)), None)


def _positions(result_idx: Sequence[int] | int | None, count: int) -> list[int]:
    """Positions counted from the front.

    Raises:
        ArgumentError: for one that no parameter has.
    """
    listed = (
        [] if result_idx is None else [result_idx] if isinstance(result_idx, int) else result_idx
    )
    for index in listed:
        if not -count <= index < count:
            raise ArgumentError(f"result_idx {index} is outside the {count} parameters")
    return [index % count for index in listed]


def bind_sizes(param: KernelParam, sizes: Mapping[str, int]) -> KernelParam:
    """`param` with the symbolic sizes that `sizes` determines filled in."""
    return replace(param, shape=[_bound(extent, sizes) for extent in param.shape])


def _bound(extent: int | Expr, sizes: Mapping[str, int]) -> int | Expr:
    if isinstance(extent, int):
        return extent
    values = {var: sizes[var.name] for var in used_vars(extent) if var.name in sizes}
    found = substitute(extent, values)
    value = const_value(found)
    return found if value is None else int(value)
