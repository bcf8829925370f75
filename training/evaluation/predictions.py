"""Predictions for unlabelled images: a table, and a plot of some of the images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from models.classifier import Classifier
from models.console.progress import Advance, ignore
from models.console.table import POST_PREDICTIONS, PostTable, Table
from models.offline.predict import classify_files, find_images
from models.offline.results import Answer, in_order
from models.preprocess import PreprocessSpec, prepare
from training.data.archives import locate_root
from training.data.unpacking.damaged import find_damaged
from training.errors import DatasetError

_COLUMNS = 5
_MAX_PLOTTED = 25
_THUMBNAIL = PreprocessSpec(size=160)
_SEED = 0


class PredictionFiles(NamedTuple):
    """The files that `write_predictions` writes: results.csv and predictions.png."""

    table: Path
    plot: Path


def find_unlabelled_images(
    location: Path, cache: Path, on_failure: Callable[[str, str], None] = lambda *_: None
) -> dict[str, Path]:
    """Return the images in a folder or an archive by their path in it, with slashes.

    Hidden files and folders and the metadata of file managers are left out.

    Args:
        location: the folder or archive.
        cache: where archives are unpacked.
        on_failure: called with the path of each file that is damaged in the archive, and the reason.

    Raises:
        DatasetError: there are no images.
    """
    root = locate_root(location, "", cache) if location.is_file() else location
    files = find_images([str(root)]).values() if root.is_dir() else ()
    for path, reason in find_damaged(root):
        on_failure(path.relative_to(root).as_posix(), reason)
    if not files:
        raise DatasetError(f"There are no images in {location}. Give a folder or an archive of images.")
    return {file.relative_to(root).as_posix(): file for file in files}


def write_predictions(
    classifier: Classifier,
    images: Mapping[str, Path],
    folder: Path,
    failures: dict[str, str],
    advance: Advance = ignore,
    *,
    as_post: bool = False,
) -> PredictionFiles:
    """Predict every image, in order, and write the results to a folder.

    Args:
        classifier: the classifier.
        images: files by their name in the table.
        folder: for results.csv and predictions.png (up to 25 random images, always the same ones); created if it is
            missing.
        failures: reasons by the name of each file that cannot be read; those of `images` are added. The table has a row
            for each, the plot leaves them out.
        advance: called with the number of images done since the last call.
        as_post: write results.csv as the blog post (`models.console.table.PostTable`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = PredictionFiles(folder / "results.csv", folder / "predictions.png")
    names = [*images, *failures]
    plotted = _draw_names(list(images), _MAX_PLOTTED)
    captions: dict[str, str] = {}
    classified = (
        (
            name,
            Answer(
                classifier.top(probabilities, POST_PREDICTIONS if as_post else 1), classifier.parents(probabilities)
            ),
        )
        for name, probabilities in classify_files(classifier, images, failures.__setitem__)
    )
    with files.table.open("w", encoding="utf-8", newline="") as file:
        table = PostTable(file) if as_post else Table(file)
        for result in in_order(names, classified, failures):
            table.add(result)
            if result.name in plotted and result.predictions:
                label, score = result.lead
                captions[result.name] = f"{label} {score:.0%}"
            advance(1)
    plot_grid([(images[name], caption) for name, caption in captions.items()]).savefig(files.plot)
    return files


def plot_grid(samples: list[tuple[Path, str]]) -> Figure:
    """Plot images with their captions, five in a row."""
    rows = math.ceil(len(samples) / _COLUMNS)
    figure = Figure(figsize=(10, 2.2 * rows + 0.2), layout="constrained")
    for position, (path, caption) in enumerate(samples, 1):
        axes = figure.add_subplot(rows, _COLUMNS, position)
        axes.imshow(prepare(path.read_bytes(), [_THUMBNAIL])[_THUMBNAIL])
        axes.set_title(caption, fontsize=9, parse_math=False)
        axes.set_axis_off()
    return figure


def _draw_names(names: list[str], count: int) -> set[str]:
    chosen = np.random.default_rng(_SEED).choice(len(names), min(count, len(names)), replace=False)
    return {names[index] for index in chosen}
