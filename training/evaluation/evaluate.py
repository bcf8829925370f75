"""A classifier's answers on a labelled set, by the path on which the server answers.

Either in this process, or by HTTP from a running server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from models.classifier import BatchItem, Classifier, classify
from models.console.progress import ignore
from models.heads import Floats
from models.manifests import ClassifierManifest
from models.offline import client as remote
from training.data import dataset as datasets
from training.data.dataset import CACHE_FOLDER, Split, Stored
from training.data.loader import prepared_batches
from training.errors import DatasetError, TrainingError

_CLASSES_SHOWN = 12

Advance = Callable[[int], None]


def test_split(manifest: ClassifierManifest) -> str:
    """The folder of the test set that the classifier's recipe names."""
    return str((manifest.recipe.get("data") or {}).get("test") or "test")


def labelled_split(
    location: Path, split: str, manifest: ClassifierManifest, names: Mapping[str, str], cache: Path = CACHE_FOLDER
) -> Split:
    """A split of a dataset, labelled by a classifier's classes; it may lack some of them.

    Args:
        location: folder or archive.
        split: its folder below that.
        manifest: of the classifier whose classes count.
        names: class folder -> name of the class, where they differ; several folders may be of one class.
        cache: where archives are unpacked.

    Raises:
        DatasetError: a class folder has no class of that name.
    """
    root = datasets.unpacked(location, split, cache)
    folders = datasets.class_folders(root / split)
    recipe = manifest.recipe.get("data") or {}
    others = tuple(folder for folder in folders if folder not in names)
    plain = {**dict(zip(others, datasets.class_names(root, others, recipe.get("names", {})), strict=True)), **names}
    by_class: dict[str, list[Stored]] = {}
    for folder, files in folders.items():
        if plain[folder] not in manifest.classes:
            raise DatasetError(
                f"{manifest.name} has no class {plain[folder]!r}. Say which of its classes a folder means with "
                f"--rename FOLDER=CLASS; its classes are: {_listed(manifest.classes)}."
            )
        by_class.setdefault(plain[folder], []).extend(files)
    return datasets.split(by_class, manifest.classes)


def predict(classifier: Classifier, split: Split, advance: Advance = ignore) -> Floats:
    """Probabilities [images, classes] by this process."""
    answers = []
    for _, pixels in prepared_batches(dict(enumerate(split.paths)), classifier.spec):
        rows = [BatchItem(image, (classifier,)) for image in pixels]
        answers += [row[0] for row in classify(classifier.extractor.engine, rows)]
        advance(len(rows))
    return np.stack(answers)


def predict_by_http(url: str, manifest: ClassifierManifest, split: Split, advance: Advance = ignore) -> Floats:
    """Probabilities [images, classes] by a running server.

    Raises:
        ServerError, TrainingError: the server cannot be reached, or does not take an image; with its words.
    """

    def refuse(index: int, why: str) -> None:
        raise TrainingError(f"{split.paths[index]}: {why}")

    rows = np.zeros((len(split), len(manifest.classes)), np.float32)
    images, model = dict(enumerate(split.paths)), f"{manifest.name}@{manifest.version}"
    for index, predictions in remote.classify(url, images, model, len(manifest.classes), refuse):
        for _, column, score in predictions:
            rows[index, column] = score
        advance(1)
    return rows


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(classes[:_CLASSES_SHOWN]) + (" ..." if len(classes) > _CLASSES_SHOWN else "")
