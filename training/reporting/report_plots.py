"""Plots of a report: confusion matrix, reliability diagram, and thumbnails of mistakes."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from models.arrays import Integers
from models.decoding.errors import ImageError
from models.offline.loader import Readable
from models.preprocess import PreprocessSpec, prepare
from training.evaluation.metrics import ReliabilityBin

_THUMBNAIL = PreprocessSpec(size=160)
#: With more classes, their names or the numbers in the cells would overlap.
_MAX_CLASSES_NAMED = 40
_MAX_CLASSES_WITH_NUMBERS = 15
_DPI = 110


def plot_confusion_matrix(confusion: Integers, names: Sequence[str]) -> Figure:
    """Plot the matrix [true class, predicted class], each row as shares of its images."""
    side = min(9.0, 2.5 + 0.45 * len(names))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= _MAX_CLASSES_NAMED:
        axes.set_xticks(range(len(names)), names, rotation=90, parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
    if len(names) <= _MAX_CLASSES_WITH_NUMBERS:
        for (row, column), count in np.ndenumerate(confusion):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=9)
    axes.set(xlabel="predicted class", ylabel="true class")
    return figure


def plot_reliability(bins: Sequence[ReliabilityBin]) -> Figure:
    """Plot accuracy against confidence; the area of a dot is its share of the predictions."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], "--", color="0.6", label="perfectly calibrated")
    confidences, accuracies = [members.confidence for members in bins], [members.accuracy for members in bins]
    total = sum(members.images for members in bins)
    axes.plot(confidences, accuracies, color="#4269d0", linewidth=1)
    axes.scatter(confidences, accuracies, [30 + 600 * members.images / total for members in bins], "#4269d0", alpha=0.7)
    axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.02), xlabel="confidence", ylabel="accuracy")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left")
    return figure


def to_data_url(figure: Figure) -> str:
    """Return a figure as a data URL of a PNG image."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # some scripts show as boxes
        figure.savefig(buffer, format="png", dpi=_DPI)
    return _data_url(buffer.getvalue(), "png")


def thumbnail(image: Readable) -> str:
    """Return a thumbnail as a data URL of a JPEG image; empty if the file can no longer be read."""
    try:
        pixels = prepare(image.read_bytes(), [_THUMBNAIL])[_THUMBNAIL]
    except (ImageError, OSError):
        return ""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return _data_url(buffer.getvalue(), "jpeg")


def _data_url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
