"""Pictures of layouts: `plot_layout` draws one cell per element.

In: a `Layout` or a `Fragment`, from anybody. Out: PNG, SVG or PDF files, and a matplotlib figure.
Seen from the input, a cell is an element: a fragment's cells are coloured by thread and say
`thread:register`; a layout's are coloured by bank, or by offset where the width of an element is
not told, and say the offset. Seen from the output, a cell is a place, a register in the row of its
thread or an offset, and says which element is there. matplotlib is loaded when a picture is drawn
(`pip install tilelang[viz]`), and no window is opened.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tilelang.errors import ArgumentError, ArgumentTypeError, LayoutError, ToolchainError
from tilelang.layout.banks import BANK_BYTES, BANKS
from tilelang.layout.fragment import Fragment
from tilelang.layout.layout import Layout

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Table = npt.NDArray[np.int64]

_FORMATS = ("pdf", "png", "svg")
_LEGIBLE = 5.0  # points; smaller text is left out
_LARGEST_TEXT = 10.0
_LETTER, _MARGIN = 0.62, 0.8  # width of a digit and of what surrounds the text, by its size
_POINTS_PER_INCH = 72
_MOST_INCHES = 24.0  # of a side
_LARGEST_CELL, _SILENT_CELL = 0.5, 0.1  # inches; of cells with text, and without
_MOST_CELLS = 1 << 20
_SHOWN_REPLICAS = 2  # threads that a cell names, of those that hold its element
_DISTINCT = 20  # colours that are told apart at a glance


def plot_layout(
    layout: Layout,
    save_directory: str | Path | None = "./tmp",
    name: str = "layout",
    colormap: str | None = None,
    verbose: bool = False,
    formats: str | Sequence[str] = "png",
    view: str = "input",
    grid_shape: tuple[int, int] | None = None,
    *,
    bits: int | None = None,
    title: str = "",
) -> Figure:
    """Draw where the elements are; axes before the last two are drawn below each other.

    Args:
        layout: a `Layout` or a `Fragment`.
        save_directory: where `name` with each suffix of `formats` is written; a path that ends in
            a suffix is itself the one file; `None`: no file.
        name: of the files, without suffix.
        colormap: a name that matplotlib knows; by default one that tells neighbours apart.
        verbose: print the layout and the files.
        formats: `"png"`, `"svg"`, `"pdf"`, several of them, or `"all"`.
        view: `"input"`, a cell per element, or `"output"`, a cell per place.
        grid_shape: rows and columns of cells, by default the last two axes.
        bits: width of an element in shared memory: a layout's cells are coloured by bank.
        title: by default, the layout as it prints, where that is short.

    Returns:
        The figure, for changes and for notebooks.

    Raises:
        ArgumentTypeError: for anything but a layout.
        ArgumentError: for an unknown view, format or colormap, and a grid of another size.
        LayoutError: for more than 2^20 cells.
        ToolchainError: without matplotlib.
    """
    if not isinstance(layout, Layout):
        raise ArgumentTypeError(f"plot_layout draws layouts, got {type(layout).__name__}")
    if view not in ("input", "output"):
        raise ArgumentError(f'view is "input" or "output", got {view!r}')
    files = _files(save_directory, name, formats)
    colors, texts = _cells(layout, bits) if view == "input" else _places(layout)
    if colors.size > _MOST_CELLS:
        raise LayoutError(f"{layout}: {colors.size} cells are too many for a picture")
    if grid_shape is not None:
        if math.prod(grid_shape) != colors.size:
            raise ArgumentError(
                f"a grid_shape of {grid_shape} has no room for {colors.size} cells",
                hint="leave it out",
            )
        colors, texts = colors.reshape(grid_shape), texts.reshape(grid_shape)
    figure = _draw(colors, texts, _title(layout, title), colormap)
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file)
    if verbose:
        print(layout, *files, sep="\n")
    return figure


def _files(directory: str | Path | None, name: str, formats: str | Sequence[str]) -> list[Path]:
    """The files to write."""
    kinds = _FORMATS if formats == "all" else [formats] if isinstance(formats, str) else formats
    wrong = [kind for kind in kinds if kind not in _FORMATS]
    if wrong:
        raise ArgumentError(f"formats are {', '.join(_FORMATS)} and all, got {wrong[0]!r}")
    if directory is None:
        return []
    path = Path(directory)
    if path.suffix.removeprefix(".") in _FORMATS:
        return [path]
    return [path / f"{name}.{kind}" for kind in kinds]


def _places(layout: Layout) -> tuple[Table, npt.NDArray[Any]]:
    """The number of the element at each place, 0 where there is none, and its index as text."""
    places = layout.offsets.reshape(-1)
    registers = int(places.max()) + 1
    if isinstance(layout, Fragment):
        threads = layout.thread_table.reshape(places.size, -1)
        cells = threads * registers + places[:, None]
        shape = (int(threads.max()) + 1, registers)
    else:
        columns = layout.get_output_shape()[-1]
        cells, shape = places[:, None], (-(-registers // columns), columns)
    numbers = np.broadcast_to(np.arange(places.size)[:, None], cells.shape)
    held = np.full(math.prod(shape), -1, np.int64)
    held[cells.ravel()] = numbers.ravel()
    indices = np.stack(np.unravel_index(np.maximum(held, 0), layout.shape), 1).tolist()
    texts = [",".join(map(str, i)) if n >= 0 else "" for i, n in zip(indices, held.tolist())]
    return np.maximum(held, 0).reshape(shape), np.reshape(texts, shape)


def _cells(layout: Layout, bits: int | None) -> tuple[Table, npt.NDArray[Any]]:
    """The number that colours each cell, and its text, as matrices."""
    columns = layout.shape[-1]
    places = layout.offsets.reshape(-1, columns)
    if isinstance(layout, Fragment):
        threads = np.sort(layout.thread_table.reshape(places.size, -1), axis=1)
        names = [_holders(row) for row in threads.tolist()]
        texts = [f"{t}:{r}" for t, r in zip(names, places.ravel().tolist())]
        return threads[:, 0].reshape(places.shape), np.reshape(texts, places.shape)
    texts = places.astype(str)
    return (places if bits is None else places * bits // 8 // BANK_BYTES % BANKS), texts


def _holders(threads: list[int]) -> str:
    """`3`, or `3,7+` of a longer list."""
    distinct = list(dict.fromkeys(threads))
    shown = ",".join(map(str, distinct[:_SHOWN_REPLICAS]))
    return f"{shown}+" if len(distinct) > _SHOWN_REPLICAS else shown


def _title(layout: Layout, title: str) -> str:
    text = str(layout)
    return title or (text if len(text) <= 100 else f"{type(layout).__name__} {list(layout.shape)}")


def cell_inches(rows: int, columns: int, longest: int) -> tuple[float, float]:
    """Width of a (square) cell, and size of its text in points; 0: none."""
    side = min(_LARGEST_CELL, _MOST_INCHES / max(rows, columns))
    size = side * _POINTS_PER_INCH / (_LETTER * longest + _MARGIN)
    if size < _LEGIBLE:
        return min(side, _SILENT_CELL), 0.0
    return side, min(size, _LARGEST_TEXT)


def _draw(
    colors: Table, texts: npt.NDArray[Any], title: str, colormap: str | None = None
) -> Figure:
    try:
        import matplotlib  # a large library that nothing else needs
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ToolchainError(
            "plot_layout needs matplotlib", hint="pip install tilelang[viz]"
        ) from error
    rows, columns = colors.shape
    longest = max(map(len, texts.ravel().tolist()))
    side, size = cell_inches(rows, columns, longest)
    figure = Figure((columns * side + 1.2, rows * side + 1.2), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    few = int(colors.max()) < _DISTINCT
    if colormap is not None and colormap not in matplotlib.colormaps:
        raise ArgumentError(f"matplotlib has no colormap {colormap!r}")
    palette = matplotlib.colormaps[colormap or ("tab20" if few else "turbo")]
    is_counted = few and colormap is None
    painted = palette(colors if is_counted else colors / max(1, int(colors.max())))
    axes.imshow(painted, interpolation="nearest", aspect="equal")
    axes.set_title(title, fontsize=8, wrap=True)
    axes.xaxis.tick_top()
    axes.tick_params(labelsize=7)
    if size:
        _label(axes, painted, texts, size)
    return figure


def _label(axes: Any, painted: npt.NDArray[Any], texts: npt.NDArray[Any], size: float) -> None:
    """Lines between the cells, and the text of each in black or white."""
    rows, columns = texts.shape
    axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    bright = painted[..., :3] @ np.array([0.299, 0.587, 0.114]) > 0.55
    for (row, column), text in np.ndenumerate(texts):
        color = "black" if bright[row, column] else "white"
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=color)
