"""Makes an extractor: a network with its start weights, fitted if the recipe says so, saved with golden outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np

from models import networks
from models.arrays import Pixels
from models.artifacts.store import ExtractorArtifact, Store
from models.errors import ModelNotFound
from models.manifests import CARD_FILE, ExtractorManifest, sha256
from models.networks import Tensors
from training import model_card as card
from training.data import dataset as datasets
from training.data.dataset import Dataset
from training.extractor import initial_weights as weights
from training.extractor.initial_weights import InitialWeights
from training.extractor.validate_engines import HARMLESS, Labelled, samples, validate_engines
from training.network.fit import fit
from training.network.history import FITTED_HISTORY
from training.recipes.schema import Data, Network, Recipe, Task
from training.runtime.context import RunContext
from training.runtime.versions import versions


def make(recipe: Recipe, network: Network, at: RunContext) -> ExtractorArtifact:
    """Build a network, fit it if the recipe says so, and save it; equal weights are not saved twice.

    Args:
        recipe: the whole run, kept in the manifest.
        network: its part about the network.
        at: where to read and write.

    Raises:
        TrainingError, ModelsError: weights or data cannot be had, or do not fit.
    """
    start = weights.load(network.architecture, network.weights, at.store, at.downloads)
    made = _made(recipe, network, start, at)
    data = networks.to_bytes(made.tensors)
    newest = _newest(at.store, recipe.extractor.name)
    if newest is not None and _is_same(newest.manifest, network, made.tops, sha256(data)):
        return newest

    def build(version: int) -> tuple[ExtractorManifest, Mapping[str, bytes]]:
        draft = ExtractorManifest(
            name=recipe.extractor.name,
            version=version,
            created=datetime.now(UTC).date().isoformat(),
            network=network.architecture,
            input_size=network.size,
            scaling=networks.scaling(network.architecture),
            outputs={},
            tops=made.tops,
            engines={},
            fitted_on=made.fitted_on,
            recipe=recipe.record(),
            seed=recipe.seed,
            libraries=versions(),
            files={},
        )
        may_cost = 1.0 if network.int8 == "always" else HARMLESS
        proved = validate_engines(
            draft, data, made.labelled, _samples(recipe, network, made.labelled, at), at, may_cost
        )
        there = draft.model_copy(update={"outputs": proved.outputs, "engines": proved.engines})
        files = {**proved.files, CARD_FILE: card.extractor(there, recipe.card).encode()}
        digests = {name: sha256(content) for name, content in files.items()}
        return there.model_copy(update={"files": digests}), files

    return at.store.add(build, ExtractorManifest, recipe.extractor.name)


@dataclass(frozen=True)
class _Made:
    tensors: Tensors
    tops: dict[str, tuple[str, ...]]
    fitted_on: dict[str, Any]
    labelled: tuple[Labelled, ...] = ()


def _made(recipe: Recipe, network: Network, start: InitialWeights | None, at: RunContext) -> _Made:
    fitted_on: dict[str, Any] = {"start": start.origin if start else "random"}
    if network.fit is None or network.fit.passes == 0:
        return _unfitted(recipe, network, start, fitted_on)
    sets = [datasets.load(task.data, _place(recipe, task.data, at), task.classes, at.cache) for task in network.tasks]
    if network.fit.everything:
        sets = [data.everything() for data in sets]
    result = fit(network, recipe.seed, sets, start.tensors if start else None, at.cache, at.track, at.log)
    for task, data in zip(network.tasks, sets, strict=True):
        fitted_on[task.top] = {
            "dataset": task.data.path,
            "digest": data.digest,
            "fitted_on_images": len(data.fitted),
            "held_out_images": len(data.train) - len(data.fitted),
            "validation_images": len(data.valid or ()),
        }
    if result.history:
        fitted_on["last_step"] = result.history[-1].model_dump(mode="json")
        passes = [record for record in result.history if record.holdout]
        fitted_on[FITTED_HISTORY] = [record.model_dump(mode="json", exclude_none=True) for record in passes]
    if result.kept:
        fitted_on["kept_step"] = result.kept.model_dump(mode="json")
    return _Made(
        result.tensors,
        {task.top: data.ids for task, data in zip(network.tasks, sets, strict=True)},
        fitted_on,
        tuple(_labelled(task, data) for task, data in zip(network.tasks, sets, strict=True)),
    )


def _labelled(task: Task, data: Dataset) -> Labelled:
    """A test set that is to be looked at once is not for engines to be measured on."""
    return Labelled(task.top, replace(data, test=None) if task.data.test_once else data, task.preprocess)


def _samples(recipe: Recipe, network: Network, labelled: Sequence[Labelled], at: RunContext) -> Pixels | None:
    """Images to calibrate 8 bits with: those that the network was fitted on, else, where it must be, the recipe's."""
    if network.int8 == "never":
        return None
    if network.int8 == "harmless" and not all(each.data.holds_out for each in labelled):
        return None  # nothing is left to show on that it is
    if labelled:
        return np.concatenate([samples(each.data.train, each.data.fitted, each.spec) for each in labelled])
    if network.int8 == "harmless" or recipe.data is None or recipe.preprocess is None:
        return None
    data = datasets.load(recipe.data, at.location, cache=at.cache)
    return samples(data.train, data.fitted, recipe.preprocess)


def _place(recipe: Recipe, data: Data, at: RunContext) -> Path | None:
    """Where a task's dataset lies: in the folder that --data names, or, where that is the recipe's own, beside it."""
    if at.location is None or recipe.data is None:
        return at.location and at.location / data.path
    return at.location if data.path == recipe.data.path else at.location.absolute().parent / data.path


def _unfitted(recipe: Recipe, network: Network, start: InitialWeights | None, fitted_on: dict[str, Any]) -> _Made:
    tops = dict(start.tops) if start else {}
    tops |= {task.top: task.classes for task in network.tasks if task.classes}
    if start is not None:
        return _Made(start.tensors, tops, fitted_on)
    keras.utils.set_random_seed(recipe.seed)
    model = networks.build(network.architecture, network.size, {top: len(names) for top, names in tops.items()})
    return _Made(networks.tensors(model), tops, fitted_on)


def _is_same(manifest: ExtractorManifest, network: Network, tops: Mapping[str, tuple[str, ...]], digest: str) -> bool:
    """Whether these weights are there already, with the file for OpenVINO that is asked for."""
    if (manifest.network, manifest.input_size) != (network.architecture, network.size):
        return False
    if (manifest.tops, manifest.weights_sha256) != (dict(tops), digest):
        return False
    if network.int8 == "always":
        return "openvino:int8" in manifest.engines
    if network.int8 == "never":
        return "openvino:float32" in manifest.engines
    return any(name.startswith("openvino:") for name in manifest.engines)


def _newest(store: Store, name: str) -> ExtractorArtifact | None:
    try:
        return store.extractor(name)
    except ModelNotFound:
        return None
