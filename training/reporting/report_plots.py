"""The pictures of a report: what is taken for what, how far certainty can be trusted, and the mistakes themselves."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from models.errors import ImageError
from models.heads import Integers
from models.offline.loader import Readable
from models.preprocess import PreprocessSpec, prepare
from training.evaluation.metrics import Bin

_THUMBNAIL = PreprocessSpec(size=160)
_CLASSES_NAMED = 40
_CLASSES_COUNTED = 15
_DPI = 110


def confusions(confusion: Integers, names: Sequence[str]) -> Figure:
    """The matrix of [right class, answered class], each row as shares of its images; very many classes go unnamed."""
    side = min(9.0, 2.5 + 0.45 * len(names))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= _CLASSES_NAMED:
        axes.set_xticks(range(len(names)), names, rotation=90, parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
    if len(names) <= _CLASSES_COUNTED:
        for (row, column), count in np.ndenumerate(confusion):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize=9)
    axes.set(xlabel="what was answered", ylabel="what it is")
    return figure


def reliability(bins: Sequence[Bin]) -> Figure:
    """Certainty against the share that is right; a dot's area is its share of the answers."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], "--", color="0.6", label="as sure as it should be")
    confidence, accuracy = [each.confidence for each in bins], [each.accuracy for each in bins]
    total = sum(each.images for each in bins)
    axes.plot(confidence, accuracy, color="#4269d0", linewidth=1)
    axes.scatter(confidence, accuracy, [30 + 600 * each.images / total for each in bins], "#4269d0", alpha=0.7)
    axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.02), xlabel="how sure it was", ylabel="how often it was right")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left")
    return figure


def inline(figure: Figure) -> str:
    """A figure as the address of a PNG that holds the picture itself."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # some scripts show as boxes
        figure.savefig(buffer, format="png", dpi=_DPI)
    return _address(buffer.getvalue(), "png")


def thumbnail(image: Readable) -> str:
    """A small picture in the same way; empty where the file is no longer there."""
    try:
        pixels = prepare(image.read_bytes(), [_THUMBNAIL])[_THUMBNAIL]
    except (ImageError, OSError):
        return ""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return _address(buffer.getvalue(), "jpeg")


def _address(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
