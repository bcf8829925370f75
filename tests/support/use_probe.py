"""Observes which images really reach a fit, a choice or a measurement, independent of the record of a run.

It hooks the functions that compute, not those that hand images out, and recognizes images by what arrives there: the
bytes that are read, the decoded pixels, or the rows of features.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import heads
from models.preprocess import PreprocessSpec, prepare, to_input
from training.estimators.kinds import FITTED_KINDS
from training.evaluation import metrics
from training.recipes.network import Task


class UseProbe:
    """Digests of the images that arrived, by part of the run and purpose, such as `network fit`."""

    def __init__(self, folder: Path, tasks: Iterable[Task] = ()) -> None:
        """Prepare to recognize the images below a folder, as the tasks of a network prepare them."""
        self.contents = {
            hashlib.sha256(content).hexdigest(): content
            for content in (path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
        }
        self.arrived: dict[str, set[str]] = defaultdict(set)
        self._rows: dict[str, list[bytes]] = defaultdict(list)
        self._predicted: dict[bytes, list[bytes]] = {}
        self._pending: list[list[bytes]] = []
        self._purpose = ""
        self._tasks = tuple(tasks)
        self._of_pixels: dict[bytes, str] = {}

    @contextmanager
    def observing(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Observe everything that runs in this context."""
        with monkeypatch.context() as patch:
            self._observe_heads(patch)
            self._observe_network(patch)
            self._observe_engines(patch)
            yield

    def resolve_rows(self, cache: Path) -> None:
        """Find the images of the rows of features that arrived, in the files of the feature cache."""
        of_row: dict[bytes, set[str]] = defaultdict(set)
        for index in cache.glob("features/*/index.sha256"):
            keys = np.fromfile(index, np.uint8).reshape(-1, 32)
            rows = np.fromfile(index.with_name("rows.float32"), np.float32).reshape(len(keys), -1)
            for key, row in zip(keys, _to_rows(rows), strict=True):
                of_row[row].add(key.tobytes().hex())
        for purpose, arrived in self._rows.items():
            self.arrived[purpose].update(*(of_row[row] for row in arrived))

    def _observe_heads(self, patch: pytest.MonkeyPatch) -> None:
        def observed(original: Callable[..., Any]) -> Callable[..., Any]:
            def fit(head: Any, features: Any, labels: Any, seed: int) -> Any:
                self._rows["head fit"] += _to_rows(features)
                return original(head, features, labels, seed)

            return fit

        for kind in FITTED_KINDS.values():
            patch.setattr(kind, "fit", observed(kind.fit))
        predict, measure, fit_temperature = heads.Head.predict_proba, metrics.measure, metrics.fit_temperature

        def predict_proba(head: heads.Head, features: Any) -> Any:
            probabilities = predict(head, features)
            rows = _to_rows(features)
            self._predicted[probabilities.tobytes()] = rows
            self._pending.append(rows)
            return probabilities

        def observed_measure(probabilities: Any, labels: Any, classes: Any) -> Any:
            self._rows["head measure"] += self._rows_of(probabilities)
            self._pending.clear()
            return measure(probabilities, labels, classes)

        def observed_temperature(probabilities: Any, labels: Any) -> float:
            rows = self._rows_of(probabilities)
            self._rows["head calibrate"] += rows
            if rows in self._pending:
                self._pending.remove(rows)
            return fit_temperature(probabilities, labels)

        patch.setattr(heads.Head, "predict_proba", predict_proba)
        patch.setattr(metrics, "measure", observed_measure)
        patch.setattr(metrics, "fit_temperature", observed_temperature)

    def _rows_of(self, probabilities: Any) -> list[bytes]:
        """Return the rows that were predicted; of probabilities that were put together, all rows since the last."""
        return self._predicted.get(probabilities.tobytes()) or [row for rows in self._pending for row in rows]

    def _observe_network(self, patch: pytest.MonkeyPatch) -> None:
        from training.network.images import augment as augmentation
        from training.network.images import batches
        from training.network.trainer import Trainer

        augment, evaluate = augmentation.augment, Trainer.evaluate

        def observed_augment(pixels: Any, *arguments: Any, **settings: Any) -> Any:
            self._add_pixels("network fit", pixels)
            return augment(pixels, *arguments, **settings)

        def observed_evaluate(trainer: Any, task: Task, chunks: Iterable[Any]) -> Any:
            def observed() -> Iterator[Any]:
                for chunk in chunks:
                    self._add_pixels("network look", chunk.pixels)
                    yield chunk

            return evaluate(trainer, task, observed())

        patch.setattr(batches, "augment", observed_augment)
        patch.setattr(Trainer, "evaluate", observed_evaluate)

    def _add_pixels(self, purpose: str, pixels: Any) -> None:
        if not self._of_pixels:
            for task in self._tasks:
                self._of_pixels |= _pixels_of(task.preprocess, self.contents)
        self.arrived[purpose] |= {self._of_pixels[image.tobytes()] for image in np.asarray(pixels)}

    def _observe_engines(self, patch: pytest.MonkeyPatch) -> None:
        from training.data.loader import prepared_batches
        from training.extractor import build, validate_engines

        def observed_batches(images: Mapping[Any, Any], spec: PreprocessSpec) -> Any:
            self.arrived[self._purpose] |= {hashlib.sha256(image.read_bytes()).hexdigest() for image in images.values()}
            return prepared_batches(images, spec)

        def with_purpose(purpose: str, original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                before, self._purpose = self._purpose, self._purpose or purpose
                try:
                    return original(*arguments)
                finally:
                    self._purpose = before

            return call

        patch.setattr(validate_engines, "prepared_batches", observed_batches)
        patch.setattr(build, "calibration_samples", with_purpose("int8 fit", validate_engines.calibration_samples))
        for name, purpose in (("_int8_accuracy_loss", "int8 choose"), ("_measure_accuracies", "engines measure")):
            patch.setattr(validate_engines, name, with_purpose(purpose, getattr(validate_engines, name)))


def _to_rows(features: Any) -> list[bytes]:
    return [np.asarray(row, np.float32).tobytes() for row in features]


def _pixels_of(spec: PreprocessSpec, contents: Mapping[str, bytes]) -> dict[bytes, str]:
    """Return the digests of images by their pixels, at the source size and as the network receives them."""
    first_step = spec.model_copy(update={"size": spec.source_side, "source": spec.source_side})
    found = {}
    for digest, content in contents.items():
        source = prepare(content, [first_step])[first_step]
        found[source.tobytes()] = digest
        found[to_input(source, spec, None).tobytes()] = digest
    return found
