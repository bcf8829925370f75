"""Pictures of a dataset: samples of each class, the number of images in each, their sizes."""

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
from models.errors import ImageError
from models.preprocess import PreprocessSpec, prepare
from training.data.overview import Header, Overview

_CLASSES_IN_ONE_COLUMN = 20
_CLASSES_DRAWN = 200
_CLASSES_NAMED = 60
_THUMBNAIL = PreprocessSpec(size=64)
_CELL = _THUMBNAIL.size + 2  # px, of a thumbnail and the gap beside it
_LABEL = 20  # px, of the line above a strip
_MARGIN = 16  # px
_LONGEST_LABEL = 60  # characters
_SEED = 0
_COLOURS = ("#4269d0", "#efb118", "#3ca951", "#a463f2")
_DPI = 120


def draw(overview: Overview, folder: Path) -> list[Path]:
    """Write sample_grid.png, class_counts.png and sizes.png into a folder, which is made.

    Returns:
        The three files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, Callable[[Overview], Figure]] = {
        "sample_grid.png": sample_grid,
        "class_counts.png": class_counts,
        "sizes.png": sizes,
    }
    for name, picture in pictures.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # some scripts show as boxes
            picture(overview).savefig(folder / name)
    return [folder / name for name in pictures]


def sample_grid(overview: Overview) -> Figure:
    """A strip of random images of each class, always the same ones; of training images where there are any."""
    by_class = _by_class(overview)
    shown = _evenly(list(by_class), _CLASSES_DRAWN)
    samples, across = (10, 1) if len(shown) <= _CLASSES_IN_ONE_COLUMN else (4, 4)
    strip_width, strip_height = samples * _CELL, _CELL + _LABEL
    canvas = np.full(
        (math.ceil(len(shown) / across) * strip_height, across * (strip_width + _MARGIN), 3), 255, np.uint8
    )
    height, width = canvas.shape[:2]
    figure = _figure((width + 2 * _MARGIN) / _DPI, (height + 3 * _LABEL) / _DPI)
    axes = figure.add_subplot()
    random = np.random.default_rng(_SEED)
    for place, label in enumerate(shown):
        top, left = place // across * strip_height, place % across * (strip_width + _MARGIN)
        _paste_samples(canvas[top + _LABEL :, left:], by_class[label], samples, random)
        axes.text(left, top + _LABEL - 5, _label(overview.names[label]), fontsize=8)
    axes.imshow(canvas, interpolation="nearest")
    axes.set_axis_off()
    which = f"{len(shown)} of {len(by_class)} classes" if len(shown) < len(by_class) else f"{len(shown)} classes"
    axes.set_title(_label(f"{overview.name}: samples of {which}"), loc="left", fontweight="bold")
    return figure


def class_counts(overview: Overview) -> Figure:
    """A bar for each class, in a colour for each split; of very many classes, a curve with its ends named."""
    counts = overview.counts()
    order = sorted(counts, key=lambda key: (-counts[key].total(), key))
    many = len(order) > _CLASSES_NAMED
    figure = _figure(9, 4.5 if many else 0.28 * len(order) + 1.4)
    axes = figure.add_subplot()
    axes.set_title(_label(f"{overview.name}: images in each class"), loc="left", fontweight="bold")
    if many:
        _draw_steps(axes, overview, counts, order)
    else:
        _draw_bars(axes, overview, counts, order)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def sizes(overview: Overview) -> Figure:
    """Widths against heights, and how many bytes the files have."""
    figure = _figure(10, 4.5)
    figure.suptitle(_label(f"{overview.name}: sizes of {len(overview.headers):,} images"), fontweight="bold")
    _draw_sides(figure.add_subplot(1, 2, 1), overview.headers)
    _draw_bytes(figure.add_subplot(1, 2, 2), overview)
    return figure


def _figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, apart from pyplot and its list of open figures."""
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _by_class(overview: Overview) -> dict[str, list[Header]]:
    """Headers of each class: of its training images, else of whatever there is."""
    groups: dict[str, list[Header]] = {label: [] for label in overview.counts()}
    for header in overview.headers:
        groups[header.file.label].append(header)
    return {
        label: [header for header in headers if header.file.split == "train"] or headers
        for label, headers in groups.items()
    }


def _evenly(labels: Sequence[str], count: int) -> list[str]:
    if len(labels) <= count:
        return list(labels)
    return [labels[i * len(labels) // count] for i in range(count)]


def _paste_samples(canvas: Pixels, headers: Sequence[Header], count: int, random: np.random.Generator) -> None:
    """Put thumbnails side by side; one that cannot be decoded leaves a gap."""
    chosen = random.choice(len(headers), min(count, len(headers)), replace=False)
    for place, index in enumerate(np.sort(chosen)):
        try:
            thumbnail = prepare(headers[index].file.path.read_bytes(), [_THUMBNAIL])[_THUMBNAIL]
        except (ImageError, OSError):
            continue
        canvas[: _THUMBNAIL.size, place * _CELL : place * _CELL + _THUMBNAIL.size] = thumbnail


def _draw_bars(axes: Axes, overview: Overview, counts: dict[str, Counter[str]], order: Sequence[str]) -> None:
    left = np.zeros(len(order))
    for colour, split in zip(_COLOURS, overview.splits, strict=False):
        width = np.array([counts[label][split] for label in order])
        bars = axes.barh(np.arange(len(order)), width, left=left, color=colour, label=split, height=0.75)
        left += width
        if split == overview.splits[-1]:
            axes.bar_label(bars, [f"{total:,.0f}" for total in left], padding=3, fontsize=8)
    axes.set_yticks(np.arange(len(order)), [_label(overview.names[label]) for label in order])
    axes.invert_yaxis()
    axes.margins(y=0.01)
    _count_images(axes.xaxis)
    _plain(axes, grid="x")


def _draw_steps(axes: Axes, overview: Overview, counts: dict[str, Counter[str]], order: Sequence[str]) -> None:
    base = np.zeros(len(order))
    for colour, split in zip(_COLOURS, overview.splits, strict=False):
        height = base + np.array([counts[label][split] for label in order])
        axes.fill_between(np.arange(len(order)), base, height, step="mid", color=colour, label=split, linewidth=0)
        base = height
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    most, fewest = overview.names[order[0]], overview.names[order[-1]]
    axes.set_xlabel(_label(f"{len(order)} classes, {most} … {fewest}"))
    _count_images(axes.yaxis)
    _plain(axes, grid="y")


def _draw_sides(axes: Axes, headers: Sequence[Header]) -> None:
    found = Counter((header.width, header.height) for header in headers)
    width, height = np.array(list(found)).T
    number = np.array(list(found.values()))
    axes.scatter(width, height, s=12 + 400 * number / len(headers), color=_COLOURS[0], alpha=0.5, linewidth=0)
    (common_width, common_height), count = found.most_common(1)[0]
    axes.set_title(
        f"most often {common_width} × {common_height} px ({count / len(headers):.0%})", loc="left", fontsize=10
    )
    longest = 1.1 * max(width.max(), height.max())
    axes.set(xlim=(0, longest), ylim=(0, longest), aspect="equal", xlabel="width, px", ylabel="height, px")
    _plain(axes, grid="both")


def _draw_bytes(axes: Axes, overview: Overview) -> None:
    kilobytes = [[header.bytes / 1000 for header in overview.of(split)] for split in overview.splits]
    least, most = min(map(min, kilobytes)), max(map(max, kilobytes))
    wide = most > 20 * least
    bins = (np.geomspace if wide else np.linspace)(least, most * 1.001, 40).tolist()
    axes.hist(kilobytes, bins=bins, stacked=True, color=_COLOURS[: len(kilobytes)], label=overview.splits)
    if wide:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("size of a file, kB")
    _count_images(axes.yaxis)
    axes.legend(frameon=False)
    _plain(axes, grid="y")


def _count_images(axis: Axis) -> None:
    axis.set_label_text("images")
    axis.set_major_locator(MaxNLocator(integer=True))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def _plain(axes: Axes, grid: Literal["x", "y", "both"]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="0.9")
    axes.set_axisbelow(True)


def _label(name: str) -> str:
    """A name as it is, if not too long; matplotlib takes what stands between dollar signs for mathematics."""
    short = name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 1]}…"
    return short.replace("$", r"\$")
