"""Predicts a labelled set on the serving path: in this process, or by HTTP on a running server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.arrays import Floats
from models.classifier import BatchItem, Classifier, classify
from models.console.progress import ignore
from models.manifests import ClassifierManifest
from models.offline import client
from training.data.archives import locate_root
from training.data.dataset import damaged_descriptions, read_class_names, read_split
from training.data.layout import find_split
from training.data.loader import prepared_batches
from training.data.split import Split, StoredImage, make_split
from training.errors import DatasetError, TrainingError
from training.runtime.folders import CACHE_FOLDER
from training.runtime.names import normalized
from training.weights.imagenet_classes import imagenet_classes

_MAX_CLASSES_SHOWN = 12

Advance = Callable[[int], None]


def test_split_name(manifest: ClassifierManifest) -> str:
    """Return the folder of the test set in the classifier's recipe."""
    return str((manifest.recipe.get("data") or {}).get("test") or "test")


@dataclass(frozen=True)
class ClassFolders:
    """Which class the images in a class folder have.

    A folder is named like its class, as in the dataset's classes.tsv, or by the WordNet id of a class of ImageNet.

    Attributes:
        owner: name of the classifier, for error messages.
        classes: of the classifier.
        plain_names: class folder -> class, overriding classes.tsv, in the dataset that the classifier was fitted on.
        renamed: class folder -> class; several folders may have the same class.
    """

    owner: str
    classes: Sequence[str]
    plain_names: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)


def load_labelled_split(
    location: Path,
    split: str,
    manifest: ClassifierManifest,
    names: Mapping[str, str],
    cache: Path = CACHE_FOLDER,
    on_left_out: Callable[[Sequence[str]], None] = lambda _: None,
) -> Split:
    """Read a split of a dataset and label it with a stored classifier's classes; see `label_split`.

    Args:
        location: folder or archive of the dataset.
        split: folder of the split in it, or another name of that split.
        manifest: of the classifier; its recipe has names of class folders.
        names: class folder -> class of the classifier, if they differ; several folders may belong to one class.
        cache: where archives are unpacked.
        on_left_out: called with a line for each entry of the split that is not used.
    """
    data, calibration = (manifest.recipe.get(table) or {} for table in ("data", "calibration"))
    renamed = calibration.get("names", {}) | dict(names)
    folders = ClassFolders(manifest.name, manifest.classes, data.get("names", {}), renamed)
    return label_split(location, split, folders, cache, on_left_out)


def label_split(
    location: Path,
    split: str,
    folders: ClassFolders,
    cache: Path = CACHE_FOLDER,
    on_left_out: Callable[[Sequence[str]], None] = lambda _: None,
) -> Split:
    """Read a split of a dataset and label it with a classifier's classes, some of which may have no images.

    Args:
        location: folder or archive of the dataset.
        split: folder of the split in it, or another name of that split.
        folders: the classes of its folders.
        cache: where archives are unpacked.
        on_left_out: called with a line for each entry of the split that is not used.

    Raises:
        DatasetError: the classifier has no class for a folder.
    """
    root = locate_root(location, split, cache)
    content = read_split(find_split(root, split))
    on_left_out([*damaged_descriptions(root), *content.left_out(root)])
    renamed = {normalized(folder): name for folder, name in folders.renamed.items()}
    not_renamed = tuple(folder for folder in content.classes if folder not in renamed)
    plain = read_class_names(root, not_renamed, folders.plain_names)
    class_of = {**dict(zip(not_renamed, plain, strict=True)), **renamed}
    known = {normalized(name): name for name in folders.classes}
    by_wnid = imagenet_classes()
    by_class: dict[str, list[StoredImage]] = {}
    for folder, files in content.classes.items():
        name = normalized(class_of[folder])
        if name not in known:
            name = by_wnid.get(folder, name)
        if name not in known:
            raise DatasetError(
                f"{folders.owner} has no class {name!r}. Map the folder to a class with --rename "
                f"FOLDER=CLASS, or in the recipe's calibration.names. The classes are: {_shorten(folders.classes)}."
            )
        by_class.setdefault(known[name], []).extend(files)
    return make_split(by_class, folders.classes)


def predict(classifier: Classifier, split: Split, advance: Advance = ignore) -> Floats:
    """Predict in this process; return probabilities, float32 [images, classes]."""
    probabilities: list[Floats] = []
    for _, pixels in prepared_batches(dict(enumerate(split.images)), classifier.spec):
        rows = [BatchItem(image, (classifier,)) for image in pixels]
        probabilities += [row[0] for row in classify(classifier.extractor.engine, rows)]
        advance(len(rows))
    return np.stack(probabilities)


def predict_by_http(url: str, manifest: ClassifierManifest, split: Split, advance: Advance = ignore) -> Floats:
    """Predict on a running server; return probabilities, float32 [images, classes].

    Raises:
        ServerError, TrainingError: the server cannot be reached or rejects an image; contains the server's message.
    """

    def fail(index: int, reason: str) -> None:
        raise TrainingError(f"{split.images[index]}: {reason}")

    probabilities = np.zeros((len(split), len(manifest.classes)), np.float32)
    images, model = dict(enumerate(split.images)), f"{manifest.name}@{manifest.version}"
    for index, answer in client.classify(url, images, model, len(manifest.classes), fail):
        for _, class_index, score in answer.predictions:
            probabilities[index, class_index] = score
        advance(1)
    return probabilities


def _shorten(classes: Sequence[str]) -> str:
    return ", ".join(classes[:_MAX_CLASSES_SHOWN]) + (" ..." if len(classes) > _MAX_CLASSES_SHOWN else "")
