"""Pictures of layouts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import tilelang.tools
from tilelang.errors import ArgumentError, ArgumentTypeError, LayoutError, ToolchainError
from tilelang.layout import (
    Layout,
    make_full_bank_swizzled_layout,
    make_gemm_fragment_8x8,
)
from tilelang.tools.plot import cell_inches, plot_layout


def texts(figure) -> list[str]:
    return [t.get_text() for t in figure.axes[0].texts]


def colors(figure) -> np.ndarray:
    (image,) = figure.axes[0].get_images()
    return np.asarray(image.get_array())


@pytest.fixture
def drawing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)


def test_a_fragment_says_thread_and_register(drawing):
    figure = plot_layout(make_gemm_fragment_8x8())
    assert texts(figure) == [f"{i * 4 + j // 2}:{j % 2}" for i in range(8) for j in range(8)]
    shown = colors(figure)
    assert (shown[0, 0] == shown[0, 1]).all() and (shown[0, 1] != shown[0, 2]).any()
    assert "Fragment([8, 8]" in figure.axes[0].get_title()


def test_replicas_are_named(drawing):
    figure = plot_layout(make_gemm_fragment_8x8().replicate(2))
    assert texts(figure)[0] == "0,32:0"
    assert texts(plot_layout(make_gemm_fragment_8x8().replicate(4)))[-1] == "31,63+:1"


def test_a_layout_says_offsets_and_shows_banks(drawing):
    layout = make_full_bank_swizzled_layout(8, 64, 16)
    figure = plot_layout(layout, bits=16)
    assert texts(figure) == [str(o) for o in layout.offsets.ravel()]
    shown = colors(figure)
    assert (shown[0, 0] == shown[0, 1]).all()  # two elements of one word
    assert (shown[0, 0] == shown[1, 8]).all()  # chunk 0 of row 0 and chunk 1 of row 1: place 0
    assert len(np.unique(shown[:, 0], axis=0)) == 8  # a column of chunks uses different banks


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_files(drawing, tmp_path: Path, suffix: str):
    path = tmp_path / f"layout.{suffix}"
    tilelang.tools.plot_layout(make_gemm_fragment_8x8(), path)
    start = path.read_bytes()[:200]
    assert start.startswith(b"\x89PNG") if suffix == "png" else b"<?xml" in start


def test_directories_names_and_formats(drawing, capsys):
    layout = make_gemm_fragment_8x8()
    plot_layout(layout)
    assert [p.name for p in Path("tmp").iterdir()] == ["layout.png"]
    plot_layout(layout, "deep/er", "c", "RdPu", verbose=True, formats=["svg", "pdf"])
    assert sorted(p.name for p in Path("deep/er").iterdir()) == ["c.pdf", "c.svg"]
    assert str(Path("deep/er/c.svg")) in capsys.readouterr().out
    plot_layout(layout, "all", formats="all")
    assert sorted(p.suffix for p in Path("all").iterdir()) == [".pdf", ".png", ".svg"]
    plot_layout(layout, None, "nothing")
    assert not list(Path().rglob("nothing*"))


def test_a_colormap_changes_the_colours(drawing):
    plain, pink = (plot_layout(make_gemm_fragment_8x8(), None, colormap=c) for c in (None, "RdPu"))
    assert (colors(plain) != colors(pink)).any()


def test_seen_from_the_output(drawing):
    figure = plot_layout(make_gemm_fragment_8x8(), None, view="output")
    assert colors(figure).shape[:2] == (32, 2)  # a row per thread, a column per register
    assert texts(figure) == [f"{t // 4},{t % 4 * 2 + r}" for t in range(32) for r in range(2)]
    padded = Layout([2, 3], lambda i, j: i * 4 + j)
    shown = plot_layout(padded, None, view="output", grid_shape=(1, 7))
    assert texts(shown) == ["0,0", "0,1", "0,2", "", "1,0", "1,1", "1,2"]
    held_twice = make_gemm_fragment_8x8().replicate(2)
    assert colors(plot_layout(held_twice, None, view="output")).shape[:2] == (64, 2)


def test_grids(drawing):
    line = Layout([12], lambda i: i)
    assert colors(plot_layout(line, None, grid_shape=(3, 4))).shape[:2] == (3, 4)
    with pytest.raises(ArgumentError, match="no room for 12 cells"):
        plot_layout(line, None, grid_shape=(3, 5))


@pytest.mark.parametrize("wrong", [{"view": "side"}, {"formats": "bmp"}, {"colormap": "no such"}])
def test_choices_that_there_are_not(drawing, wrong):
    with pytest.raises(ArgumentError):
        plot_layout(make_gemm_fragment_8x8(), None, **wrong)


def test_large_tiles_have_no_text(drawing):
    fragment = make_gemm_fragment_8x8().repeat([16, 16])
    figure = plot_layout(fragment)
    assert texts(figure) == [] and colors(figure).shape[:2] == (128, 128)
    assert max(figure.get_size_inches()) < 16


def test_one_and_three_axes(drawing):
    line = plot_layout(Layout([12], lambda i: i * 2))
    assert colors(line).shape[:2] == (1, 12)
    slots = plot_layout(Layout([2, 4, 8], lambda s, i, j: [s, i, j ^ i]))
    assert colors(slots).shape[:2] == (8, 8)


def test_cells_are_legible_or_silent():
    for rows, columns, longest in [(8, 8, 4), (64, 64, 5), (128, 128, 6), (4, 4, 40)]:
        side, size = cell_inches(rows, columns, longest)
        assert size == 0 or 5 <= size <= 10
        assert size * 0.55 * longest <= side * 72  # text stays in its cell


def test_what_cannot_be_drawn(drawing):
    with pytest.raises(ArgumentTypeError, match="draws layouts"):
        plot_layout([1, 2])  # type: ignore[arg-type]
    with pytest.raises(LayoutError, match="too many"):
        plot_layout(Layout([2048, 1024], lambda i, j: i * 1024 + j))


def test_without_the_library(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ToolchainError, match=r"tilelang\[viz\]"):
        plot_layout(make_gemm_fragment_8x8())
