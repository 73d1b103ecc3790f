"""Comparison of tensors: what passes, what does not, and what the message says."""

from __future__ import annotations

import math

import pytest
import torch

from tilelang.profiler import torch_assert_close


def test_equal_tensors_agree() -> None:
    for kind in (torch.float32, torch.float16, torch.int64, torch.bool, torch.float8_e4m3fn):
        a = torch.ones(3, 5).to(kind)
        assert torch_assert_close(a, a.clone()) is True
    assert torch_assert_close(torch.empty(0, 3), torch.empty(0, 3))
    assert torch_assert_close(torch.tensor(2.0), torch.tensor(2.0))


@pytest.mark.parametrize(("gap", "close"), [(0.0199, True), (0.0201, False)])
def test_the_bound_is_absolute_plus_relative_of_the_second(gap: float, close: bool) -> None:
    b = torch.tensor([1.0], dtype=torch.float64)
    if close:
        assert torch_assert_close(b + gap, b, rtol=0.01, atol=0.01)
    else:
        with pytest.raises(AssertionError):
            torch_assert_close(b + gap, b, rtol=0.01, atol=0.01)


def test_a_share_may_differ_rounded_down() -> None:
    b = torch.zeros(1000)
    a = b.clone()
    a[:2] = 9
    assert torch_assert_close(a, b, max_mismatched_ratio=0.0029)
    with pytest.raises(AssertionError, match="allowed: 1 mismatches"):
        torch_assert_close(a, b, max_mismatched_ratio=0.0019)


def test_message_names_first_and_largest() -> None:
    b = torch.ones(4, 5)
    a = b.clone()
    a[1, 2], a[3, 4] = 2, 11
    with pytest.raises(AssertionError) as caught:
        torch_assert_close(a, b, max_mismatched_ratio=0, base_name="ours", ref_name="theirs")
    text = str(caught.value)
    assert "ours and theirs differ in 2 of 20 elements" in text
    assert "first at (1, 2): 2 and 1" in text
    assert "largest absolute difference 10 at (3, 4)" in text
    assert "largest relative difference 10" in text


def test_not_a_number() -> None:
    a = torch.tensor([math.nan, 1.0])
    assert torch_assert_close(a, a.clone())
    for b, equal_nan in ((a.clone(), False), (torch.tensor([0.0, 1.0]), True)):
        with pytest.raises(AssertionError, match=r"1 of 2 elements.*\n.*first at \(0,\): nan"):
            torch_assert_close(a, b, equal_nan=equal_nan)


@pytest.mark.parametrize("other", [-math.inf, 1e30, 0.0, math.nan])
def test_infinity_agrees_with_itself_only(other: float) -> None:
    inf = torch.tensor([math.inf])
    assert torch_assert_close(inf, inf.clone())
    for pair in ((inf, torch.tensor([other])), (torch.tensor([other]), inf)):
        with pytest.raises(AssertionError):
            torch_assert_close(*pair)


def test_large_integers_are_compared_exactly() -> None:
    a = torch.tensor([2**60 + 1])
    assert torch_assert_close(a, a.clone(), rtol=0, atol=0)
    assert not torch.equal(a.double().long(), a)


def test_shapes_never_broadcast() -> None:
    with pytest.raises(AssertionError, match="shape differs"):
        torch_assert_close(torch.ones(3, 1), torch.ones(1, 3))


def test_properties_are_checked_when_asked() -> None:
    a, b = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.float16)
    with pytest.raises(
        AssertionError, match=r"dtype differs: LHS torch\.float32, RHS torch\.float16"
    ):
        torch_assert_close(a, b)
    assert torch_assert_close(a, b, check_dtype=False)
    transposed = torch.ones(3, 2).t()
    assert torch_assert_close(a, transposed)
    with pytest.raises(AssertionError, match="stride differs"):
        torch_assert_close(a, transposed, check_stride=True)
    with pytest.raises(AssertionError, match="device differs"):
        torch_assert_close(a, torch.ones(2, 3, device="meta"))


def test_verbose_prints_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    torch_assert_close(torch.tensor([1.0, 5.0]), torch.ones(2), 0, 0, 0.5, verbose=True)
    assert capsys.readouterr().out == "1 of 2 elements differ, 1 may\n"


def test_half_precision_differences_are_not_rounded() -> None:
    a = torch.tensor([2049.0], dtype=torch.bfloat16)
    assert torch_assert_close(a, a.clone(), rtol=0, atol=0)
    b = torch.tensor([60000.0], dtype=torch.float16)
    with pytest.raises(AssertionError, match="largest absolute difference 120000"):
        torch_assert_close(b, -b)
