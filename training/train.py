"""A recipe, from dataset to store.

dataset -> (network fit -> extractor) -> features, cached -> head fit -> evaluate -> save
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models import heads
from models.artifacts.store import ClassifierArtifact, ExtractorArtifact, check_name
from models.classifier import Extractor
from models.console.tensorflow_logs import hide_startup_messages
from models.heads import Head
from models.preprocess import PreprocessSpec
from training.data import dataset as datasets
from training.data.dataset import DATA_FOLDER, Dataset, Split, Stored
from training.errors import DatasetError
from training.estimators.heads import Softmax
from training.evaluation import metrics
from training.evaluation import test_once as looks
from training.evaluation.results import ClassifierResults, Predictions
from training.evaluation.test_once import MEASURED_WEIGHTS
from training.heads import fit as fitting
from training.heads import inputs
from training.heads import save as classifiers
from training.heads.inputs import Inputs
from training.heads.save import Fitted
from training.recipes.schema import Data, Probe, Recipe
from training.runtime.context import RunContext


def run(recipe: Recipe, at: RunContext, *, stored: bool = False) -> ExtractorArtifact | ClassifierArtifact:
    """Run a recipe and save what comes out of it.

    Args:
        recipe: what to make.
        at: where to read and write.
        stored: take the extractor as it lies in the store, whatever [network] says.

    Returns:
        The classifier; the extractor where the recipe has no head.

    Raises:
        TrainingError, ModelsError: with a line that says what to do.
    """
    for name in (recipe.name, recipe.extractor.name):
        check_name(name)
    made = _extractor(recipe, at, stored)
    at.log(f"extractor {made.label}: {made.folder}")
    spec = recipe.preprocess
    if spec is None or recipe.head is None:
        return made
    inputs.check(recipe, spec, made)
    extractor = measured_by = inputs.load(made)
    if recipe.data:
        recipe, fitted = _from_data(recipe, recipe.data, spec, extractor, at)
    else:
        fitted = _top(recipe, extractor)
    if recipe.refit and isinstance(recipe.head, Softmax) and "kept_step" in made.manifest.fitted_on:
        extractor = _refitted(recipe, made, at)
        seen = extractor.manifest.fitted_on[recipe.extractor.output]["fitted_on_images"]
        told = {MEASURED_WEIGHTS: made.manifest.weights_sha256, "fitted_on_images": seen}
        fitted = replace(fitted, data=fitted.data | told)
    saved = classifiers.save(recipe, spec, extractor, fitted, at.store)
    at.log(f"classifier {saved.label}: {saved.folder}")
    if fitted.answers:
        at.report(ClassifierResults(saved.manifest, measured_by.manifest, fitted.answers))
    return saved


def _extractor(recipe: Recipe, at: RunContext, stored: bool = False) -> ExtractorArtifact:
    if recipe.network is None or stored:
        return at.store.extractor(recipe.extractor.name, recipe.extractor.version)
    with hide_startup_messages():
        from training.extractor import build as extractors  # with TensorFlow, which heads alone do not need

    return extractors.make(recipe, recipe.network, at)


def _refitted(recipe: Recipe, made: ExtractorArtifact, at: RunContext) -> Extractor:
    """The network fitted again on all images but the test set's; temperature and figures stay those of the first."""
    passes = made.manifest.fitted_on["kept_step"]["passes"]
    at.log(f"fitting the network again on all images, for {passes:g} passes")
    again = _extractor(recipe.refitting(passes), at)
    at.log(f"extractor {again.label}: {again.folder}")
    return inputs.load(again)


def _from_data(
    recipe: Recipe, part: Data, spec: PreprocessSpec, extractor: Extractor, at: RunContext
) -> tuple[Recipe, Fitted]:
    """The head, and the recipe that makes it: where parameters were tuned, with those that were chosen."""
    data = datasets.load(part, at.location, cache=at.cache)
    sets = _measured_sets(recipe, part, data, at)
    given = Inputs(data, extractor, recipe.extractor.output, spec, at)
    tried: dict[str, Any] = {}
    if recipe.tune:
        from training.heads.tuning import tuned

        recipe, tried = tuned(recipe, given)
    head, on_holdout = fitting.fit_head(recipe, data, extractor, given.features, at.log)
    measured = {"holdout": on_holdout}
    first = looks.previous_measurement(recipe, data.digest, at.store) if part.test_once else None
    if first:
        del sets["test"]
        measured |= looks.recorded(first, extractor, head, at.log)
    answers = {
        name: Predictions(split, head.predict_proba(given.features(split, f"{name} set")))
        for name, split in sets.items()
    }
    if not answers and not recipe.refit:
        holdout = data.train.take(datasets.holdout(data.train))
        answers["holdout"] = Predictions(holdout, head.predict_proba(given.features(holdout, "held-out images")))
    for name, each in answers.items():
        measured[name] = metrics.measure(each.probabilities, each.split.labels, data.names)
    description = _description(recipe, part, data, at)
    return recipe, Fitted(head, data.names, measured, description, datasets.holdout(data.train), tried, answers)


def _top(recipe: Recipe, extractor: Extractor) -> Fitted:
    """The answer of a network's own top, where there is no dataset to measure it on."""
    classes = extractor.manifest.tops[recipe.extractor.output]
    data = {"fitted_on": extractor.manifest.fitted_on["start"]}
    return Fitted(Head(heads.top_softmax(classes, classes)), classes, {}, data, np.empty(0, np.int64))


def _measured_sets(recipe: Recipe, part: Data, data: Dataset, at: RunContext) -> dict[str, Split]:
    sets = {name: split for name, split in (("valid", data.valid), ("test", data.test)) if split is not None}
    beside = (at.location or DATA_FOLDER / part.path).absolute().parent
    for probe in recipe.probes:
        location = beside / probe.path
        if location.exists():
            sets[probe.name] = _probe(probe, location, data, at.cache)
        else:
            at.log(f"{probe.name}: not measured, since there is no {location}")
    return sets


def _probe(probe: Probe, location: Path, data: Dataset, cache: Path) -> Split:
    by_class: dict[str, list[Stored]] = {}
    for folder, files in datasets.class_folders(datasets.unpacked(location, probe.split, cache) / probe.split).items():
        by_class.setdefault(probe.names.get(folder, folder), []).extend(files)
    unknown = set(by_class) - set(data.names)
    if unknown:
        raise DatasetError(f"{location} has a class {min(unknown)!r} that {data.root.name} has not.")
    return datasets.split(by_class, data.names)


def _description(recipe: Recipe, part: Data, data: Dataset, at: RunContext) -> dict[str, Any]:
    held = len(datasets.holdout(data.train))
    return {
        "dataset": (at.location or Path(part.path)).name,
        "digest": data.digest,
        "training_images": len(data.train),
        "fitted_on_images": len(data.train) if recipe.refit else len(data.train) - held,
        "held_out_images": held,
        "test_images": 0 if data.test is None else len(data.test),
    }
