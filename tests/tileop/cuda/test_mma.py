"""`mma.sync` products: every type, major, scope and odd size, run by NumPy, compiled by NVRTC."""

from __future__ import annotations

import numpy as np
import pytest

from tests.lowering import same
from tests.tileop.cuda.block_product import (
    Product,
    check,
    compiled,
    context,
    expected,
    filled,
    lowered,
    place,
    result,
)
from tilelang.ir.expr import Var
from tilelang.ir.node import replace
from tilelang.layout.blocked import BlockedFragment
from tilelang.layout.mma import WarpTiles, accumulator_fragment
from tilelang.tileop.cuda.mma import MmaSync, plan_of
from tilelang.tileop.gemm import Gemm

MMA = MmaSync()
FRAGMENT = "local.fragment"
SCOPES = ("shared", FRAGMENT)


@pytest.mark.parametrize("tA", [False, True])
@pytest.mark.parametrize("tB", [False, True])
@pytest.mark.parametrize(
    "a,c,K,tolerance",
    [
        ("float16", "float32", 48, 1e-5), ("float16", "float16", 32, 1e-2),
        ("bfloat16", "float32", 32, 1e-5), ("float32", "float32", 24, 1e-2),
        ("float32", "float32", 12, 1e-2), ("float64", "float64", 32, 1e-12),
        ("float64", "float64", 20, 1e-12), ("int8", "int32", 64, 0), ("uint8", "int32", 48, 0),
        ("float8_e4m3fn", "float32", 64, 1e-5), ("float8_e5m2", "float16", 32, 1e-2),
        ("float8_e4m3", "float32", 32, 1e-5),
        ("float16", "float32", 24, 1e-5), ("bfloat16", "float32", 8, 1e-5),
        ("bfloat16", "bfloat16", 32, 1e-2), ("bfloat16", "float16", 16, 1e-2),
    ],
)  # fmt: skip
def test_types_and_majors(a, c, K, tolerance, tA, tB):
    block = check(Product(64, 48, K, a, c, tA=tA, tB=tB), MMA, tolerance=tolerance)
    rows = [op for op in block.calls if op.startswith("tl_ldmatrix_x")]
    assert bool(rows) == (a != "float64" and (not tA or tB or a.endswith("16")))


@pytest.mark.parametrize("a,b", [("int8", "uint8"), ("uint8", "int8")])
def test_mixed_signs(a, b):
    block = check(Product(32, 32, 64, a, "int32", b), MMA)
    names = {"int8": "s8", "uint8": "u8"}
    assert f"tl_mma_m16n8k32_s32_{names[a]}_{names[b]}" in block.calls


@pytest.mark.parametrize("a,b", [("e4m3fn", "e5m2"), ("e5m2", "e4m3fn")])
def test_mixed_float8(a, b):
    product = Product(32, 32, 64, f"float8_{a}", "float32", f"float8_{b}")
    block = check(product, MMA, arch="sm_89", tolerance=1e-5)
    assert f"tl_mma_m16n8k32_f32_{a[:4]}_{b[:4]}" in block.calls


@pytest.mark.parametrize(
    "arch,a,c,K,function",
    [
        ("sm_75", "float16", "float32", 32, "tl_mma_m16n8k8_f32_f16"),
        ("sm_75", "int8", "int32", 32, "tl_mma_m8n8k16_s32_s8"),
        ("sm_80", "float16", "float32", 32, "tl_mma_m16n8k16_f32_f16"),
        ("sm_80", "float64", "float64", 8, "tl_mma_m8n8k4_f64_f64"),
        ("sm_90", "float64", "float64", 16, "tl_mma_m16n8k16_f64_f64"),
        ("sm_90a", "float32", "float32", 16, "tl_mma_m16n8k8_f32_tf32"),
    ],
)  # fmt: skip
def test_architectures(arch, a, c, K, function):
    block = check(Product(32, 40, K, a, c, tB=True), MMA, arch=arch, threads=64, tolerance=1e-2)
    assert {op for op in block.calls if "mma" in op} == {function}


@pytest.mark.parametrize("policy", [0, 1, 2])
@pytest.mark.parametrize(
    "M,N,K,threads",
    [(48, 80, 48, 128), (16, 8, 16, 128), (16, 128, 64, 128), (128, 8, 32, 96), (80, 24, 16, 256)],
)
def test_tiles_of_any_size(M, N, K, threads, policy):
    check(Product(M, N, K, policy=policy, tB=True), MMA, threads=threads, tolerance=1e-5)


@pytest.mark.parametrize("tA", [False, True])
@pytest.mark.parametrize("tB", [False, True])
@pytest.mark.parametrize("kinds", [("float16", "float32"), ("float32",) * 2, ("int8", "int32")])
@pytest.mark.parametrize("scopes", [(a, b) for a in SCOPES for b in SCOPES if FRAGMENT in (a, b)])
def test_operands_in_registers(tA, tB, kinds, scopes):
    product = Product(64, 32, 64, *kinds, tA=tA, tB=tB, scopes=(*scopes, FRAGMENT))
    block = check(product, MMA, tolerance=1e-2)
    if scopes == (FRAGMENT, FRAGMENT):
        assert not [op for op in block.calls if "ldmatrix" in op]


def test_clear_is_a_constant_or_decided_at_run_time():
    check(Product(32, 32, 32, clear=True), MMA, tolerance=1e-5)
    first = Var("first")
    for value in (0, 1):
        product = Product(32, 32, 32, clear=first == 0)
        check(product, MMA, tolerance=1e-5, values={first: value})


def test_slots_of_a_pipeline_and_parts_of_a_tile():
    slot = Var("slot")
    wider = (((3, 32, 48), (slot % 3, 0, 16)), ((3, 96, 40), (slot % 3, 32, 0)), None)
    block = check(Product(32, 40, 32, wider=wider), MMA, tolerance=1e-5, values={slot: 5})
    assert "tl_ldmatrix_x4" in block.calls


def test_parts_of_fragments():
    wider = (((2, 64, 32), (1, 32, 0)), None, ((2, 32, 80), (0, 0, 40)))
    scopes = (FRAGMENT, "shared", FRAGMENT)
    check(Product(32, 40, 16, scopes=scopes, wider=wider), MMA, tolerance=1e-5, threads=64)


def test_a_region_that_does_not_start_at_a_chunk_is_read_by_elements():
    wider = (((32, 48), (0, 3)), None, None)
    block = check(Product(32, 32, 32, wider=wider), MMA, tolerance=1e-5)
    assert not [op for op in block.calls if op.endswith("_x4")]


def test_a_region_that_may_leave_its_buffer_goes_through_a_tile_of_zeros():
    start = Var("start")
    for value in (0, 8, 24, -5):
        product = Product(32, 32, 32, wider=(((32, 40), (0, start)), None, None))
        op, ctx = product.op(), context(128)
        assert MMA.applies(op, ctx) is None
        place(op, MMA, ctx)
        block, arrays = filled(op, ctx, 128, {start: value})
        block.run(lowered(op, MMA, ctx))
        assert [b.name for b in ctx.scratch] == ["A_shared"]
        A = np.zeros((32, 32))
        columns = [c for c in range(32) if 0 <= value + c < 40]
        A[:, columns] = arrays["A"][:, [value + c for c in columns]]
        want = arrays["C"] + A @ arrays["B"].astype(np.float64)
        same(result(block, op.C.buffer, ctx, 128), want, 1e-5)


def test_fragments_that_others_chose_go_through_shared_memory():
    held = {"C": BlockedFragment((64, 32), 128), "A": BlockedFragment((64, 16), 128, 2)}
    product = Product(64, 32, 16, scopes=(FRAGMENT, "shared", FRAGMENT))
    check(product, MMA, tolerance=1e-5, fragments=held)


@pytest.mark.parametrize("cut", [(1, 4), (2, 2), (4, 1)])
@pytest.mark.parametrize("policy", [0, 1, 2])
def test_sums_stay_where_another_product_needs_them(cut, policy):
    op, ctx = Product(64, 64, 32, policy=policy).op(), context(128)
    plan = plan_of(op, ctx)
    held = accumulator_fragment(WarpTiles(64, 64, *cut, plan.form.atom))
    place(op, MMA, ctx, {"C": held})
    block, arrays = filled(op, ctx, 128, None, 0)
    block.run(lowered(op, MMA, ctx))
    same(result(block, op.C.buffer, ctx, 128), expected(op, arrays, block), 1e-5)
    assert not ctx.scratch
    assert f"{cut[0]} by {cut[1]} warps" in MMA.details(op, ctx)[0]


def test_one_fragment_as_both_operands():
    P = Product(64, 64, 64, scopes=(FRAGMENT,) * 3, tB=True)
    op = P.op()
    node = replace(op.node, operands=(op.node.operands[0], replace(op.node.operands[1],
                   region=op.A.region), op.node.operands[2]))  # fmt: skip
    op, ctx = Gemm(node), context(128)
    place(op, MMA, ctx)
    block, arrays = filled(op, ctx, 128)
    block.run(lowered(op, MMA, ctx))
    A = arrays["B"].astype(np.float64)  # what the one buffer was filled with last
    same(result(block, op.C.buffer, ctx, 128), arrays["C"] + A @ A.T, 1e-5)


def test_deep_tiles_loop_over_k():
    block = check(Product(16, 8, 640), MMA, threads=32, tolerance=1e-5)
    assert len([op for op in block.calls if "mma" in op]) == 40


@pytest.mark.parametrize(
    "product,threads,arch,words",
    [
        (Product(60, 32, 32), 128, "sm_80", "M is 60, not a multiple of 16: 64 would do"),
        (Product(64, 36, 32), 128, "sm_80", "N is 36, not a multiple of 8: 40 would do"),
        (Product(64, 32, 20), 128, "sm_80", "K is 20, not a multiple of 8: 24 would do"),
        (Product(64, 32, 32), 100, "sm_80", "100 threads are not whole warps of 32"),
        (Product(64, 32, 32, "bfloat16"), 128, "sm_75", "from sm_80 on; the target is sm_75"),
        (Product(64, 32, 32, "float8_e5m2"), 128, "sm_80", "exists from sm_89 on"),
        (Product(64, 32, 32, "int16", "int32"), 128, "sm_80", "no form for int16 into int32"),
        (Product(64, 32, 32, scopes=("shared",) * 3), 128, "sm_80", "C is `C` in shared, not"),
        (Product(64, 32, 32, scopes=("global", "shared", FRAGMENT)), 128, "sm_80", "A is `A` in g"),
        (
            Product(64, 32, 32, wider=(None, None, ((64, 48), (0, 8)))), 128, "sm_80",
            "C: axis 1 of `C` is 48, not whole tiles",
        ),
    ],
)  # fmt: skip
def test_the_reason_against_it_is_said(product, threads, arch, words):
    reason = MMA.applies(product.op(), context(threads, arch))
    assert reason is not None and words in reason


def test_shared_operands_want_swizzled_rows():
    needs = MMA.needs(Product(64, 128, 32).op(), context(128))
    (A, of_A), (B, of_B) = needs.shared.items()
    assert (A.name, B.name) == ("A", "B")
    assert of_A.get_output_shape() == [64, 32] and of_B.get_output_shape() == [32, 128]
    assert of_A.is_injective and of_B.is_injective


KERNELS = [
    (Product(128, 128, 32, tB=True), 128), (Product(128, 256, 64), 256),
    (Product(64, 64, 32, "bfloat16", tA=True), 128), (Product(64, 64, 32, "float32"), 128),
    (Product(64, 64, 64, "int8", "int32"), 128), (Product(64, 32, 16, "float64", "float64"), 128),
    (Product(64, 64, 64, "float16", "float16", scopes=(FRAGMENT, "shared", FRAGMENT)), 128),
    (Product(48, 80, 48), 128),
]  # fmt: skip


@pytest.mark.parametrize("product,threads", KERNELS, ids=lambda v: str(v)[:60])
def test_registers_stay_in_registers(product, threads):
    usage = compiled(product, MMA, threads)
    assert usage.spill_store_bytes == usage.spill_load_bytes == usage.stack_bytes == 0


def test_old_devices_compile():
    assert compiled(Product(64, 64, 32), MMA, 128, "sm_75").stack_bytes == 0
    product = Product(64, 64, 32, "float8_e4m3fn", tB=True)
    assert compiled(product, MMA, 128, "sm_89").stack_bytes == 0
