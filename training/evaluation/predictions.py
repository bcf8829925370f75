"""A classifier's answers on pictures without labels: a table, and a picture of some of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from models.classifier import Classifier
from models.console.progress import Advance, ignore
from models.heads import Floats
from models.offline.predict import classify_files, find_images
from models.preprocess import PreprocessSpec, prepare
from training.data import dataset as datasets
from training.errors import DatasetError

_ACROSS = 5
_THUMBNAIL = PreprocessSpec(size=160)
_SEED = 0


class Files(NamedTuple):
    """What `predict` writes: results.csv and predictions.png."""

    table: Path
    grid: Path


def unlabelled(location: Path, cache: Path) -> dict[str, Path]:
    """The pictures below a folder or in an archive, by their path in it, with slashes.

    Raises:
        DatasetError: there are none.
    """
    root = datasets.unpacked(location, "", cache) if location.is_file() else location
    files = find_images([str(root)]).values() if root.is_dir() else ()
    if not files:
        raise DatasetError(f"There are no pictures in {location}. Name a folder or an archive of pictures.")
    return {file.relative_to(root).as_posix(): file for file in files}


def meaning(classifier: Classifier) -> str:
    """What the column `Predictions` holds."""
    if len(classifier.classes) == 2:
        return f"probability of {classifier.classes[1]}"
    return "the likeliest class"


def predict(
    classifier: Classifier,
    images: Mapping[str, Path],
    folder: Path,
    failed: Callable[[str, str], None],
    advance: Advance = ignore,
) -> Files:
    """Answer for every picture, in order.

    Args:
        classifier: of two classes, the probability of the second is written; of more, the name of the likeliest.
        images: where each lies, by the name that it has in the table.
        folder: for results.csv (`Filename,Predictions`) and predictions.png (25 pictures at most, drawn by lot, always
            the same ones); made if it is not there.
        failed: is told of each picture that cannot be read, and why; it is in neither.
        advance: is told of pictures done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(folder / "results.csv", folder / "predictions.png")
    drawn = _lot(list(images), _ACROSS**2)
    captions: dict[str, str] = {}
    with files.table.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["Filename", "Predictions"])
        for name, probabilities in classify_files(classifier, images, failed):
            rows.writerow([name, _prediction(classifier, probabilities)])
            if name in drawn:
                label, _, score = classifier.top(probabilities, 1)[0]
                captions[name] = f"{label} {score:.0%}"
            advance(1)
    grid([(images[name], caption) for name, caption in captions.items()]).savefig(files.grid)
    return files


def grid(samples: list[tuple[Path, str]]) -> Figure:
    """Pictures with their captions, five in a row."""
    figure = Figure(figsize=(10, 2.2 * math.ceil(len(samples) / _ACROSS) + 0.2), layout="constrained")
    for place, (path, caption) in enumerate(samples, 1):
        axes = figure.add_subplot(math.ceil(len(samples) / _ACROSS), _ACROSS, place)
        axes.imshow(prepare(path.read_bytes(), [_THUMBNAIL])[_THUMBNAIL])
        axes.set_title(caption, fontsize=9, parse_math=False)
        axes.set_axis_off()
    return figure


def _prediction(classifier: Classifier, probabilities: Floats) -> str:
    if len(probabilities) == 2:
        return f"{probabilities[1]:.6f}"
    return classifier.classes[int(probabilities.argmax())]


def _lot(names: list[str], count: int) -> set[str]:
    chosen = np.random.default_rng(_SEED).choice(len(names), min(count, len(names)), replace=False)
    return {names[index] for index in chosen}
