"""A classifier's answers on a labelled set, by the path on which the server answers.

Either in this process, or by HTTP from a running server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np

from models.classifier import Classifier, Row, classify
from models.heads import Floats
from models.manifests import ClassifierManifest
from training import datasets
from training.datasets import CACHE_FOLDER, Split
from training.errors import DatasetError, TrainingError
from training.progress import ignore
from training.streaming import prepared_batches

_REQUESTS_IN_FLIGHT = 16
_PATIENCE_S = 60.0
_WORDS_SHOWN = 300
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
    by_class: dict[str, list[Path]] = {}
    for folder, files in folders.items():
        if plain[folder] not in manifest.classes:
            raise DatasetError(
                f"{manifest.name} has no class {plain[folder]!r}. Say which of its classes a folder means with "
                f"--rename FOLDER=CLASS; its classes are: {_listed(manifest.classes)}."
            )
        by_class.setdefault(plain[folder], []).extend(files)
    return datasets.split(by_class, manifest.classes)


def answer(classifier: Classifier, split: Split, advance: Advance = ignore) -> Floats:
    """Probabilities [images, classes] by this process."""
    answers = []
    for _, pixels in prepared_batches(dict(enumerate(split.paths)), classifier.spec):
        rows = [Row(image, (classifier,)) for image in pixels]
        answers += [row[0] for row in classify(classifier.extractor.engine, rows)]
        advance(len(rows))
    return np.stack(answers)


def answer_by_http(url: str, manifest: ClassifierManifest, split: Split, advance: Advance = ignore) -> Floats:
    """Probabilities [images, classes] by a running server.

    Raises:
        TrainingError: the server cannot be reached, refuses, or stays busy for a minute; with its words.
    """
    query: dict[str, str | int] = {"model": manifest.name, "version": manifest.version, "top_k": len(manifest.classes)}
    limits = httpx.Limits(max_connections=_REQUESTS_IN_FLIGHT)

    def ask(path: Path) -> Floats:
        row = _scores(_post(client, path), len(manifest.classes))
        advance(1)
        return row

    try:
        with (
            httpx.Client(base_url=url, params=query, timeout=_PATIENCE_S, limits=limits) as client,
            ThreadPoolExecutor(_REQUESTS_IN_FLIGHT) as pool,
        ):
            return np.stack(list(pool.map(ask, split.paths)))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise TrainingError(f"No answer from {url} ({reason}). Is the server running? make serve") from error


def _post(client: httpx.Client, path: Path) -> httpx.Response:
    """The answer to one image; a server that is busy is asked again."""
    content, until = path.read_bytes(), time.monotonic() + _PATIENCE_S
    while True:
        reply = client.post("/v1/classify", content=content, headers={"Content-Type": "application/octet-stream"})
        wait = reply.headers.get("Retry-After", "")
        if reply.is_success:
            return reply
        if reply.status_code != httpx.codes.SERVICE_UNAVAILABLE or not wait.isdigit() or time.monotonic() > until:
            words = " ".join(reply.text.split())[:_WORDS_SHOWN]
            raise TrainingError(f"{path}: the server answered {reply.status_code}: {words}")
        time.sleep(int(wait))


def _scores(reply: httpx.Response, classes: int) -> Floats:
    row = np.zeros(classes, np.float32)
    try:
        for prediction in reply.json()["predictions"]:
            row[prediction["index"]] = prediction["score"]
    except (ValueError, LookupError, TypeError) as error:
        raise TrainingError(f"{reply.url} does not answer as this service does. Is it the right address?") from error
    return row


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(classes[:_CLASSES_SHOWN]) + (" ..." if len(classes) > _CLASSES_SHOWN else "")
