"""Somebody's own photographs, from a folder to a classifier in the store, without a recipe to write.

photographs -> features at several source sides -> head and side by cross-validation -> fit -> test part -> save
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from models.artifacts.store import ClassifierArtifact, ExtractorArtifact, Store, check_name
from models.heads import Floats
from models.preprocess import PreprocessSpec
from training.errors import DatasetError
from training.evaluation import metrics
from training.evaluation.results import ClassifierResults, Predictions
from training.heads import model_selection as choosing
from training.heads import save as classifiers
from training.heads.inputs import Inputs, load
from training.heads.model_selection import Candidate
from training.heads.save import Fitted
from training.ingest import photo_folder as photographs
from training.ingest.photo_folder import Photographs
from training.recipes.schema import Recipe
from training.runtime.context import RunContext

#: ImageNet's network knows photographs best; it is there where somebody has installed it.
_BEST_EXTRACTOR = "inception_v3_imagenet"
_LINES_SHOWN = 20


def run(recipe: Recipe, at: RunContext) -> ClassifierArtifact:
    """Make a classifier of the photographs at `at.location` and save it as the next version.

    Args:
        recipe: its name, card and extractor; head and preprocessing are chosen here.
        at: where to read and write.

    Raises:
        TrainingError, ModelsError: with a line that says what to do.
    """
    check_name(recipe.name)
    made = _extractor(recipe, at.store)
    if at.location is None:
        raise DatasetError("Say with --data where your photographs lie: class folders, or an archive of them.")
    found = photographs.gather(at.location, at.cache, at.track)
    _tell(found, at.log)
    spec = PreprocessSpec(size=made.manifest.input_size, shrink="bilinear")
    given = Inputs(found.data, load(made), recipe.extractor.output, spec, at)
    chosen, tried = _chosen(found, given, recipe.seed)
    fitted = _fitted(found, replace(given, spec=chosen.spec), chosen, tried, recipe.seed)
    saved = classifiers.save(_written(recipe, made, chosen), chosen.spec, given.extractor, fitted, at.store)
    at.log(f"classifier {saved.label}: {saved.folder}")
    at.report(ClassifierResults(saved.manifest, made.manifest, fitted.answers, (*found.left_out, *found.notes)))
    return saved


def _chosen(found: Photographs, given: Inputs, seed: int) -> tuple[Candidate, dict[str, Any]]:
    """The best candidate, and a record of all."""
    train, names, at = found.data.train, found.data.names, given.at

    def extract(spec: PreprocessSpec) -> Floats:
        which = " and their mirror images" if spec.mirror else ""
        return replace(given, spec=spec).features(train, f"photographs at {spec.source_side} px{which}")

    best, tried = choosing.select_model(extract, given.spec, train.labels, found.groups, names, seed, at.track)
    low, high = best.measured.accuracy_interval
    figures = f"accuracy {best.measured.accuracy:.3f} ({low:.3f} to {high:.3f})"
    at.log(f"chosen: {best.head.kind} head at {best.spec.source_side} px, cross-validated {figures}")
    if best.spec.mirror:
        at.log("each picture is averaged with its mirror image: more accurate here, and twice the work for an answer")
    return best, tried


def _fitted(found: Photographs, given: Inputs, chosen: Candidate, tried: dict[str, Any], seed: int) -> Fitted:
    """The chosen head, fitted on all photographs to learn from and measured on the others."""
    data = found.data
    rows = given.features(data.train, "photographs to learn from")
    head = choosing.fitted(chosen, rows, data.train.labels, seed)
    answers = {
        name: Predictions(split, head.predict_proba(given.features(split, f"{name} set")))
        for name, split in (("valid", data.valid), ("test", data.test))
        if split is not None
    }
    measured = {"cross-validated": chosen.measured} | {
        name: metrics.measure(each.probabilities, each.split.labels, data.names) for name, each in answers.items()
    }
    return Fitted(head, data.names, measured, _description(found, given.at), np.empty(0, np.int64), tried, answers)


def _written(recipe: Recipe, made: ExtractorArtifact, chosen: Candidate) -> Recipe:
    """The recipe with what was chosen."""
    extractor = recipe.extractor.model_copy(update={"name": made.manifest.name})
    return recipe.model_copy(update={"extractor": extractor, "preprocess": chosen.spec, "head": chosen.head})


def _extractor(recipe: Recipe, store: Store) -> ExtractorArtifact:
    there = {artifact.manifest.name for artifact in store.extractors()}
    return store.extractor(_BEST_EXTRACTOR if _BEST_EXTRACTOR in there else recipe.extractor.name)


def _tell(found: Photographs, say: Callable[[str], None]) -> None:
    for line in found.left_out[:_LINES_SHOWN]:
        say(f"left out: {line}")
    if len(found.left_out) > _LINES_SHOWN:
        say(f"left out: {len(found.left_out) - _LINES_SHOWN:,} more, which the report lists")
    for line in found.notes:
        say(f"note: {line}")
    data = found.data
    held_back = sum(len(split) for split in (data.valid, data.test) if split is not None)
    say(f"{len(data.ids)} classes, {len(data.train):,} photographs to learn from, {held_back:,} to measure with")


def _description(found: Photographs, at: RunContext) -> dict[str, Any]:
    data, groups = found.data, found.groups
    assert at.location is not None
    return {
        "dataset": at.location.resolve().name,
        "digest": data.digest,
        "training_images": len(data.train),
        "fitted_on_images": len(data.train),
        "held_out_images": 0,
        "test_images": 0 if data.test is None else len(data.test),
        "near_duplicates": len(groups) - len(np.unique(groups)),
        "left_out_files": len(found.left_out),
    }
