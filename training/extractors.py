"""Makes an extractor: a network with its start weights, fitted if the recipe says so, saved with golden outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras

from models import engines, golden, networks
from models.artifacts import ExtractorArtifact, Store
from models.cores import available_cores
from models.errors import ModelNotFound
from models.manifests import CARD_FILE, GOLDEN_FILE, WEIGHTS_FILE, Agreement, ExtractorManifest, sha256
from models.networks import Tensors
from training import card, datasets, weights
from training.libraries import versions
from training.network import fit
from training.recipe import Data, Network, Recipe
from training.weights import Start
from training.workplace import Workplace

#: What float32 on another processor or another batch size may differ by, with room to spare.
_FLOAT32 = Agreement(min_cosine=0.9999, min_top1=0.98)
_PROVED = "tensorflow:float32"


def make(recipe: Recipe, network: Network, at: Workplace) -> ExtractorArtifact:
    """Build a network, fit it if the recipe says so, and save it; equal weights are not saved twice.

    Args:
        recipe: the whole run, kept in the manifest.
        network: its part about the network.
        at: where to read and write.

    Raises:
        TrainingError, ModelsError: weights or data cannot be had, or do not fit.
    """
    start = weights.load(network.architecture, network.weights, at.downloads)
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
            engines={_PROVED: _FLOAT32},
            fitted_on=made.fitted_on,
            recipe=recipe.record(),
            seed=recipe.seed,
            libraries=versions(),
            files={},
        )
        engine = engines.create(draft, networks.from_bytes(data), available_cores())
        widths = {name: values.shape[1] for name, values in engine.run(golden.draw(network.size, 1)).items()}
        files = {
            WEIGHTS_FILE: data,
            GOLDEN_FILE: golden.record_extractor(engine, network.size),
            CARD_FILE: card.extractor(draft, recipe.card).encode(),
        }
        digests = {name: sha256(content) for name, content in files.items()}
        return draft.model_copy(update={"outputs": widths, "files": digests}), files

    return at.store.save(build, ExtractorManifest, recipe.extractor.name)


@dataclass(frozen=True)
class _Made:
    tensors: Tensors
    tops: dict[str, tuple[str, ...]]
    fitted_on: dict[str, Any]


def _made(recipe: Recipe, network: Network, start: Start | None, at: Workplace) -> _Made:
    fitted_on: dict[str, Any] = {"start": start.origin if start else "random"}
    if network.fit is None or network.fit.passes == 0:
        return _unfitted(recipe, network, start, fitted_on)
    sets = [datasets.load(task.data, _place(recipe, task.data, at), task.classes, at.cache) for task in network.tasks]
    if network.fit.everything:
        sets = [data.everything() for data in sets]
    result = fit(network, recipe.seed, sets, start.tensors if start else None, at.cache, at.track, at.say)
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
    if result.kept:
        fitted_on["kept_step"] = result.kept.model_dump(mode="json")
    return _Made(
        result.tensors,
        {task.top: data.ids for task, data in zip(network.tasks, sets, strict=True)},
        fitted_on,
    )


def _place(recipe: Recipe, data: Data, at: Workplace) -> Path | None:
    """Where a task's dataset lies: in the folder that --data names, or, where that is the recipe's own, beside it."""
    if at.location is None or recipe.data is None:
        return at.location and at.location / data.path
    return at.location if data.path == recipe.data.path else at.location.absolute().parent / data.path


def _unfitted(recipe: Recipe, network: Network, start: Start | None, fitted_on: dict[str, Any]) -> _Made:
    tops = dict(start.tops) if start else {}
    tops |= {task.top: task.classes for task in network.tasks if task.classes}
    if start is not None:
        return _Made(start.tensors, tops, fitted_on)
    keras.utils.set_random_seed(recipe.seed)
    model = networks.build(network.architecture, network.size, {top: len(names) for top, names in tops.items()})
    return _Made(networks.tensors(model), tops, fitted_on)


def _is_same(manifest: ExtractorManifest, network: Network, tops: Mapping[str, tuple[str, ...]], digest: str) -> bool:
    there = (manifest.network, manifest.input_size, manifest.tops, manifest.weights_sha256)
    return there == (network.architecture, network.size, dict(tops), digest)


def _newest(store: Store, name: str) -> ExtractorArtifact | None:
    try:
        return store.extractor(name)
    except ModelNotFound:
        return None
