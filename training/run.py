"""A recipe, from dataset to store.

dataset -> (network fit -> extractor) -> features, cached -> head fit -> evaluate -> save
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models import heads
from models.artifacts import ClassifierArtifact, ExtractorArtifact, check_name
from models.catalog import load_extractor
from models.classifier import Extractor
from models.heads import Floats, Head, Softmax
from models.preprocess import PreprocessSpec
from training import classifiers, datasets, features, fitting, looks, metrics
from training.classifiers import Fitted
from training.datasets import DATA_FOLDER, Dataset, Split
from training.errors import DatasetError, RecipeError
from training.looks import MEASURED_WEIGHTS
from training.recipe import Data, Probe, Recipe
from training.workplace import Workplace


def run(recipe: Recipe, at: Workplace) -> ExtractorArtifact | ClassifierArtifact:
    """Run a recipe and save what comes out of it.

    Returns:
        The classifier; the extractor where the recipe has no head.

    Raises:
        TrainingError, ModelsError: with a line that says what to do.
    """
    for name in (recipe.name, recipe.extractor.name):
        check_name(name)
    made = _extractor(recipe, at)
    at.say(f"extractor {made.label}: {made.folder}")
    if recipe.preprocess is None or recipe.head is None:
        return made
    _check(recipe, recipe.preprocess, made)
    extractor = load_extractor(made)
    fitted = (
        _from_data(recipe, recipe.data, recipe.preprocess, extractor, at) if recipe.data else _top(recipe, extractor)
    )
    if recipe.refit and isinstance(recipe.head, Softmax) and "kept_step" in made.manifest.fitted_on:
        extractor = _refitted(recipe, made, at)
        seen = extractor.manifest.fitted_on[recipe.extractor.output]["fitted_on_images"]
        told = {MEASURED_WEIGHTS: made.manifest.weights_sha256, "fitted_on_images": seen}
        fitted = replace(fitted, data=fitted.data | told)
    saved = classifiers.save(recipe, recipe.preprocess, extractor, fitted, at.store)
    at.say(f"classifier {saved.label}: {saved.folder}")
    return saved


def _extractor(recipe: Recipe, at: Workplace) -> ExtractorArtifact:
    if recipe.network is None:
        return at.store.extractor(recipe.extractor.name, recipe.extractor.version)
    from training import extractors  # with TensorFlow, which heads alone do not need

    return extractors.make(recipe, recipe.network, at)


def _refitted(recipe: Recipe, made: ExtractorArtifact, at: Workplace) -> Extractor:
    """The network fitted again on all images but the test set's; temperature and figures stay those of the first."""
    passes = made.manifest.fitted_on["kept_step"]["passes"]
    at.say(f"fitting the network again on all images, for {passes:g} passes")
    again = _extractor(recipe.refitting(passes), at)
    at.say(f"extractor {again.label}: {again.folder}")
    return load_extractor(again)


def _check(recipe: Recipe, spec: PreprocessSpec, made: ExtractorArtifact) -> None:
    manifest, output = made.manifest, recipe.extractor.output
    if output not in manifest.outputs:
        raise RecipeError(f"{made.label} has no output {output!r}; it has {', '.join(manifest.outputs)}.")
    if isinstance(recipe.head, Softmax) and output not in manifest.tops:
        there = ", ".join(manifest.tops) or "none"
        raise RecipeError(f"A softmax head needs a top of {made.label}, which {output!r} is not; it has {there}.")
    if spec.size != manifest.input_size:
        raise RecipeError(f"{made.label} takes {manifest.input_size} px, but preprocess.size is {spec.size}.")


def _from_data(recipe: Recipe, part: Data, spec: PreprocessSpec, extractor: Extractor, at: Workplace) -> Fitted:
    data = datasets.load(part, at.location, cache=at.cache)
    sets = _measured_sets(recipe, part, data, at)

    def extract(split: Split, what: str) -> Floats:
        with at.track(f"features of {what}", len(split)) as advance:
            return features.extract(split, extractor, recipe.extractor.output, spec, at.cache, advance)

    head, on_holdout = fitting.fit_head(recipe, data, extractor, extract, at.say)
    measured = {"holdout": on_holdout}
    first = looks.first_look(recipe, data.digest, at.store) if part.test_once else None
    if first:
        del sets["test"]
        measured |= looks.recorded(first, extractor, head, at.say)
    for name, split in sets.items():
        probabilities = head.predict_proba(extract(split, f"{name} set"))
        measured[name] = metrics.measure(probabilities, split.labels, data.names)
    return Fitted(head, data.names, measured, _description(recipe, part, data, at), datasets.holdout(data.train))


def _top(recipe: Recipe, extractor: Extractor) -> Fitted:
    """The answer of a network's own top, where there is no dataset to measure it on."""
    classes = extractor.manifest.tops[recipe.extractor.output]
    data = {"fitted_on": extractor.manifest.fitted_on["start"]}
    return Fitted(Head(heads.top_softmax(classes, classes)), classes, {}, data, np.empty(0, np.int64))


def _measured_sets(recipe: Recipe, part: Data, data: Dataset, at: Workplace) -> dict[str, Split]:
    sets = {name: split for name, split in (("valid", data.valid), ("test", data.test)) if split is not None}
    beside = (at.location or DATA_FOLDER / part.path).absolute().parent
    for probe in recipe.probes:
        location = beside / probe.path
        if location.exists():
            sets[probe.name] = _probe(probe, location, data, at.cache)
        else:
            at.say(f"{probe.name}: not measured, since there is no {location}")
    return sets


def _probe(probe: Probe, location: Path, data: Dataset, cache: Path) -> Split:
    by_class: dict[str, list[Path]] = {}
    for folder, files in datasets.class_folders(datasets.unpacked(location, probe.split, cache) / probe.split).items():
        by_class.setdefault(probe.names.get(folder, folder), []).extend(files)
    unknown = set(by_class) - set(data.names)
    if unknown:
        raise DatasetError(f"{location} has a class {min(unknown)!r} that {data.root.name} has not.")
    return datasets.split(by_class, data.names)


def _description(recipe: Recipe, part: Data, data: Dataset, at: Workplace) -> dict[str, Any]:
    held = len(datasets.holdout(data.train))
    return {
        "dataset": (at.location or Path(part.path)).name,
        "digest": data.digest,
        "training_images": len(data.train),
        "fitted_on_images": len(data.train) if recipe.refit else len(data.train) - held,
        "held_out_images": held,
        "test_images": 0 if data.test is None else len(data.test),
    }
