"""Makes an extractor: network weights -> engine files, validated -> store."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import numpy as np

from models import networks
from models.arrays import Pixels
from models.artifacts.store import ExtractorArtifact, Store
from models.errors import ModelNotFound
from models.manifests import SEEN_FILE, ExtractorManifest, sha256
from training.evaluation.ledger import label_in_ledger, ledger_of
from training.evaluation.seen import seen_by_run
from training.evaluation.set_records import Histories
from training.extractor.network_weights import NetworkWeights, make_weights
from training.extractor.validate_engines import (
    MAX_INT8_ACCURACY_LOSS,
    calibration_samples,
    validate_engines,
)
from training.model_card import add_model_card
from training.partition.partition import ALL, FIT, HOLDOUT
from training.partition.record import Record
from training.partition.run_partitions import RunPartitions
from training.recipes.network import Network
from training.recipes.schema import Recipe
from training.runtime.context import RunContext
from training.runtime.versions import library_versions


def build_extractor(recipe: Recipe, network: Network, partitions: RunPartitions, ctx: RunContext) -> ExtractorArtifact:
    """Build a network, fit it if the recipe says so, and save it.

    Nothing is saved if the newest version in a store has the same weights and the engine file that is asked for.

    Args:
        recipe: of the whole run; it is stored in the manifest.
        network: the recipe's network.
        partitions: of the recipe's datasets.
        ctx: folders and output of the run.

    Raises:
        TrainingError, ModelsError: weights or images cannot be read, or do not fit.
    """
    record = Record()
    weights = make_weights(recipe, network, partitions, record, ctx)
    weights_file = networks.to_bytes(weights.tensors)
    for store in (ctx.output, ctx.store):
        newest = _newest_version(store, recipe.extractor.name)
        if newest is not None and _is_equal(newest.manifest, network, weights, sha256(weights_file)):
            return newest
    draft = _draft_manifest(recipe, network, weights)
    samples = _int8_calibration_samples(recipe, network, weights, partitions, record)
    max_loss = None if network.int8 == "always" else MAX_INT8_ACCURACY_LOSS
    engine_files = validate_engines(draft, weights_file, weights.labelled, samples, ctx, max_loss)
    seen = weights.inherited.joined_with(seen_by_run(record))
    ledger = ledger_of(ctx)
    validated = draft.model_copy(
        update={
            "outputs": engine_files.outputs,
            "engines": engine_files.engines,
            "sets": {top: Histories(seen, ledger=ledger).of(split) for top, split in engine_files.measured.items()},
        }
    )
    files = {**engine_files.files, SEEN_FILE: seen.to_npz()}
    artifact = ctx.output.add(ExtractorManifest, recipe.extractor.name, partial(add_model_card, validated, files))
    ledger.add(label_in_ledger(artifact, ctx), record.looks())
    return artifact


def _draft_manifest(recipe: Recipe, network: Network, weights: NetworkWeights) -> ExtractorManifest:
    """Return the manifest without what validation and the store add: engines, outputs, files and version."""
    return ExtractorManifest(
        name=recipe.extractor.name,
        version=1,
        created=datetime.now(UTC).date().isoformat(),
        network=network.architecture,
        input_size=network.size,
        scaling=networks.scaling_of(network.architecture),
        outputs={},
        tops=weights.tops,
        engines={},
        fitted_on=weights.fitted_on,
        recipe=recipe.as_record(),
        seed=recipe.seed,
        libraries=library_versions(),
        files={},
    )


def _int8_calibration_samples(
    recipe: Recipe, network: Network, weights: NetworkWeights, partitions: RunPartitions, record: Record
) -> Pixels | None:
    """Return images to calibrate 8 bits with: of the network's datasets, else the recipe's; None to skip 8 bits."""
    if network.int8 == "never":
        return None
    everything = bool(network.fit and network.fit.everything)
    is_measurable = weights.labelled and all(each.partition.count(HOLDOUT) for each in weights.labelled)
    if network.int8 == "harmless" and (everything or not is_measurable):
        return None  # without held-out images with labels, it cannot be measured whether 8 bits are harmless
    if weights.fitted:
        name = ALL if everything else FIT
        return np.concatenate([calibration_samples(each.partition, name, each.preprocess) for each in weights.fitted])
    if recipe.data is None or recipe.preprocess is None:
        return None
    return calibration_samples(partitions.of_recipe(record), FIT, recipe.preprocess)


def _is_equal(manifest: ExtractorManifest, network: Network, weights: NetworkWeights, weights_sha256: str) -> bool:
    """Return whether an extractor has these weights, and the OpenVINO file that is asked for."""
    if (manifest.network, manifest.input_size) != (network.architecture, network.size):
        return False
    if (manifest.tops, manifest.weights_sha256) != (weights.tops, weights_sha256):
        return False
    if network.int8 == "always":
        return "openvino:int8" in manifest.engines
    if network.int8 == "never":
        return "openvino:float32" in manifest.engines
    return any(name.startswith("openvino:") for name in manifest.engines)


def _newest_version(store: Store, name: str) -> ExtractorArtifact | None:
    try:
        return store.extractor(name)
    except ModelNotFound:
        return None
