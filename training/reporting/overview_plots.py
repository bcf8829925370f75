"""Plots of a dataset: samples and number of images of each class, and image sizes."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from models.arrays import Pixels
from models.console.encoding import path_text
from models.decoding.errors import ImageError
from models.preprocess import PreprocessSpec, prepare
from training.data.overview import Header, Overview

_MAX_CLASSES_IN_ONE_COLUMN = 20
_MAX_CLASSES_SAMPLED = 200
_MAX_CLASSES_WITH_BARS = 60
_THUMBNAIL = PreprocessSpec(size=64)
_CELL_PX = _THUMBNAIL.size + 2  # a thumbnail and the gap next to it
_LABEL_PX = 20  # height of the line above a strip
_MARGIN_PX = 16
_MAX_LABEL_CHARACTERS = 60
_SEED = 0
_COLOURS = ("#4269d0", "#efb118", "#3ca951", "#a463f2")
_DPI = 120


def write_plots(overview: Overview, folder: Path) -> list[Path]:
    """Write sample_grid.png, class_counts.png and sizes.png into a folder, which is created if it is missing.

    Returns:
        The three files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plots: dict[str, Callable[[Overview], Figure]] = {
        "sample_grid.png": plot_sample_grid,
        "class_counts.png": plot_class_counts,
        "sizes.png": plot_sizes,
    }
    for name, plot in plots.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # some scripts show as boxes
            plot(overview).savefig(folder / name)
    return [folder / name for name in plots]


def plot_sample_grid(overview: Overview) -> Figure:
    """Plot a strip of random images of each class, always the same ones; training images if there are any."""
    by_class = _by_class(overview)
    shown = _evenly_spaced(list(by_class), _MAX_CLASSES_SAMPLED)
    samples, columns = (10, 1) if len(shown) <= _MAX_CLASSES_IN_ONE_COLUMN else (4, 4)
    strip_width, strip_height = samples * _CELL_PX, _CELL_PX + _LABEL_PX
    canvas = np.full(
        (math.ceil(len(shown) / columns) * strip_height, columns * (strip_width + _MARGIN_PX), 3), 255, np.uint8
    )
    height, width = canvas.shape[:2]
    figure = _figure((width + 2 * _MARGIN_PX) / _DPI, (height + 3 * _LABEL_PX) / _DPI)
    axes = figure.add_subplot()
    random = np.random.default_rng(_SEED)
    for position, label in enumerate(shown):
        top, left = position // columns * strip_height, position % columns * (strip_width + _MARGIN_PX)
        _paste_samples(canvas[top + _LABEL_PX :, left:], by_class[label], samples, random)
        axes.text(left, top + _LABEL_PX - 5, _label(overview.class_names[label]), fontsize=8)
    axes.imshow(canvas, interpolation="nearest")
    axes.set_axis_off()
    classes = f"{len(shown)} of {len(by_class)} classes" if len(shown) < len(by_class) else f"{len(shown)} classes"
    axes.set_title(_label(f"{overview.name}: samples of {classes}"), loc="left", fontweight="bold")
    return figure


def plot_class_counts(overview: Overview) -> Figure:
    """Plot one bar per class with one colour per split; for very many classes, a curve with only its ends named."""
    counts = overview.counts()
    order = sorted(counts, key=lambda key: (-counts[key].total(), key))
    has_many_classes = len(order) > _MAX_CLASSES_WITH_BARS
    figure = _figure(9, 4.5 if has_many_classes else 0.28 * len(order) + 1.4)
    axes = figure.add_subplot()
    axes.set_title(_label(f"{overview.name}: images in each class"), loc="left", fontweight="bold")
    if has_many_classes:
        _draw_steps(axes, overview, counts, order)
    else:
        _draw_bars(axes, overview, counts, order)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def plot_sizes(overview: Overview) -> Figure:
    """Plot widths against heights, and a histogram of the file sizes."""
    figure = _figure(10, 4.5)
    figure.suptitle(_label(f"{overview.name}: sizes of {len(overview.headers):,} images"), fontweight="bold")
    _draw_sides(figure.add_subplot(1, 2, 1), overview.headers)
    _draw_bytes(figure.add_subplot(1, 2, 2), overview)
    return figure


def _figure(width: float, height: float) -> Figure:
    """Create an empty figure (inches) outside of pyplot, which would keep it in its list of open figures."""
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _by_class(overview: Overview) -> dict[str, list[Header]]:
    """Return the headers of each class: of its training images, or of all its images if there are none."""
    groups: dict[str, list[Header]] = {label: [] for label in overview.counts()}
    for header in overview.headers:
        groups[header.file.label].append(header)
    return {
        label: [header for header in headers if header.file.split == "train"] or headers
        for label, headers in groups.items()
    }


def _evenly_spaced(labels: Sequence[str], count: int) -> list[str]:
    """Return up to `count` labels, evenly spaced over all of them."""
    if len(labels) <= count:
        return list(labels)
    return [labels[i * len(labels) // count] for i in range(count)]


def _paste_samples(canvas: Pixels, headers: Sequence[Header], count: int, random: np.random.Generator) -> None:
    """Paste thumbnails side by side; one that cannot be decoded leaves a gap."""
    chosen = random.choice(len(headers), min(count, len(headers)), replace=False)
    for position, index in enumerate(np.sort(chosen)):
        try:
            thumbnail = prepare(headers[index].file.path.read_bytes(), [_THUMBNAIL])[_THUMBNAIL]
        except (ImageError, OSError):
            continue
        canvas[: _THUMBNAIL.size, position * _CELL_PX : position * _CELL_PX + _THUMBNAIL.size] = thumbnail


def _draw_bars(axes: Axes, overview: Overview, counts: dict[str, Counter[str]], order: Sequence[str]) -> None:
    left = np.zeros(len(order))
    for colour, split in zip(_COLOURS, overview.splits, strict=False):
        width = np.array([counts[label][split] for label in order])
        bars = axes.barh(np.arange(len(order)), width, left=left, color=colour, label=split, height=0.75)
        left += width
        if split == overview.splits[-1]:
            axes.bar_label(bars, [f"{total:,.0f}" for total in left], padding=3, fontsize=8)
    axes.set_yticks(np.arange(len(order)), [_label(overview.class_names[label]) for label in order])
    axes.invert_yaxis()
    axes.margins(y=0.01)
    _count_images(axes.xaxis)
    _style(axes, grid="x")


def _draw_steps(axes: Axes, overview: Overview, counts: dict[str, Counter[str]], order: Sequence[str]) -> None:
    base = np.zeros(len(order))
    for colour, split in zip(_COLOURS, overview.splits, strict=False):
        height = base + np.array([counts[label][split] for label in order])
        axes.fill_between(np.arange(len(order)), base, height, step="mid", color=colour, label=split, linewidth=0)
        base = height
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    largest, smallest = overview.class_names[order[0]], overview.class_names[order[-1]]
    axes.set_xlabel(_label(f"{len(order)} classes, {largest} … {smallest}"))
    _count_images(axes.yaxis)
    _style(axes, grid="y")


def _draw_sides(axes: Axes, headers: Sequence[Header]) -> None:
    sizes = Counter((header.width, header.height) for header in headers)
    width, height = np.array(list(sizes)).T
    counts = np.array(list(sizes.values()))
    axes.scatter(width, height, s=12 + 400 * counts / len(headers), color=_COLOURS[0], alpha=0.5, linewidth=0)
    (common_width, common_height), count = sizes.most_common(1)[0]
    axes.set_title(
        f"most common: {common_width} × {common_height} px ({count / len(headers):.0%})", loc="left", fontsize=10
    )
    longest = 1.1 * max(width.max(), height.max())
    axes.set(xlim=(0, longest), ylim=(0, longest), aspect="equal", xlabel="width, px", ylabel="height, px")
    _style(axes, grid="both")


def _draw_bytes(axes: Axes, overview: Overview) -> None:
    kilobytes = [[header.bytes / 1000 for header in overview.headers_of(split)] for split in overview.splits]
    smallest, largest = min(map(min, kilobytes)), max(map(max, kilobytes))
    use_log_scale = largest > 20 * smallest
    bins = (np.geomspace if use_log_scale else np.linspace)(smallest, largest * 1.001, 40).tolist()
    axes.hist(kilobytes, bins=bins, stacked=True, color=_COLOURS[: len(kilobytes)], label=overview.splits)
    if use_log_scale:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("file size, kB")
    _count_images(axes.yaxis)
    axes.legend(frameon=False)
    _style(axes, grid="y")


def _count_images(axis: Axis) -> None:
    axis.set_label_text("images")
    axis.set_major_locator(MaxNLocator(integer=True))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _style(axes: Axes, grid: Literal["x", "y", "both"]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="0.9")
    axes.set_axisbelow(True)


def _label(name: str) -> str:
    """Shorten a long name and escape invalid characters, and dollar signs, between which matplotlib reads formulas."""
    text = path_text(name)
    short = text if len(text) <= _MAX_LABEL_CHARACTERS else f"{text[: _MAX_LABEL_CHARACTERS - 1]}…"
    return short.replace("$", r"\$")
