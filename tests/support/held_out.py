"""Runs of recipes under observation: their records are checked against what really reached each stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from models.artifacts.store import ClassifierArtifact, ExtractorArtifact, Store
from models.console.progress import silent
from models.manifests import CARD_FILE
from tests.support.use_probe import UseProbe
from training import train
from training.evaluation.results import ClassifierResults
from training.evaluation.seen import SeenImages, seen_by_artifact, to_keys
from training.recipes.network import Task
from training.recipes.schema import Recipe
from training.runtime.context import RunContext
from training.set_notes import set_notes


@dataclass(frozen=True)
class Observed:
    """A run in a store of its own, and what was observed of it."""

    ctx: RunContext
    probe: UseProbe
    tasks: tuple[Task, ...] = ()

    def keys(self, *purposes: str) -> set[int]:
        return {int(key) for purpose in purposes for key in to_keys(sorted(self.probe.arrived[purpose]))}


def observe(folder: Path, data: Path, recipe: Recipe | None = None) -> Observed:
    """Prepare to observe a run on the images below a folder."""
    ctx = RunContext(Store(folder / "store"), silent, lambda line: None, data, folder / "cache")
    tasks = recipe.network.tasks if recipe and recipe.network else ()
    return Observed(ctx, UseProbe(data, tasks), tasks)


def run(recipe: Recipe, observed: Observed, monkeypatch: pytest.MonkeyPatch) -> ClassifierArtifact | None:
    """Run a recipe and check its records against what was observed; return its classifier."""
    store = observed.ctx.store
    before = {artifact.label: seen_by_artifact(artifact) for artifact in store.extractors()}
    reports: list[ClassifierResults] = []
    with observed.probe.observing(monkeypatch):
        made = train.run(recipe, observed.ctx, report=reports.append)
    observed.probe.resolve_rows(observed.ctx.cache)
    new = [artifact for artifact in reversed(store.extractors()) if artifact.label not in before]
    if new:
        starts_from = recipe.network.weights if recipe.network else ""
        inherited = [seen for label, seen in before.items() if starts_from == f"store:{label.partition('@')[0]}"]
        check_extractors(new, observed, inherited[0].inherited() if inherited else SeenImages())
    if recipe.head is None:
        return None
    classifier = store.classifier(made.manifest.name, made.manifest.version)
    network = new[0] if new else store.extractor_of(classifier)  # the one that was measured
    check_classifier(classifier, reports, observed, seen_by_artifact(network))
    return classifier


def recorded(seen: SeenImages, *uses: str) -> set[int]:
    """Return the images that were used in one of these ways, by any stage, or `use.stage` by one stage."""
    names = [name for name in seen.keys if name in uses or name.partition(".")[0] in uses]
    return {int(key) for name in names for key in seen.keys[name]}


def check_extractors(new: list[ExtractorArtifact], observed: Observed, inherited: SeenImages) -> None:
    """Check the records of the extractors that a run made; a second one was fitted again."""
    seen = SeenImages()
    for artifact in new:
        seen = seen.joined_with(seen_by_artifact(artifact))
        measured = {top for engine in artifact.manifest.engines.values() for top in engine.accuracy}
        assert set(artifact.manifest.sets) == measured

    def added(*uses: str) -> set[int]:
        return recorded(seen, *uses) - recorded(inherited, *uses)

    fitted = observed.keys("network fit", "int8 fit")
    assert fitted <= recorded(seen, "fit"), "a fit that ends within a pass uses fewer than it was given"
    tasks, last_step = observed.tasks, new[-1].manifest.fitted_on.get("last_step")
    if last_step and last_step["passes"] >= 0.99:
        assert len(added("fit") - fitted) < max(task.batch for task in tasks)
    assert added("choose.network", "measure.network") == observed.keys("network look")
    assert added("choose.int8") == observed.keys("int8 choose")
    assert added("measure.engines") == observed.keys("engines measure")
    if len(new) == 1:
        assert not fitted & observed.keys("network look", "int8 choose", "engines measure")


def check_classifier(
    classifier: ClassifierArtifact, reports: list[ClassifierResults], observed: Observed, network: SeenImages
) -> None:
    """Check the record of the head, the records of the measured sets and the card."""
    seen = seen_by_artifact(classifier)
    assert recorded(seen, "fit") == observed.keys("head fit")
    assert recorded(seen, "calibrate") >= observed.keys("head calibrate")
    assert recorded(seen, "calibrate.head") <= observed.keys("head calibrate")
    assert recorded(seen, "measure", "choose") == observed.keys("head measure")
    manifest, card = classifier.manifest, classifier.read(CARD_FILE).decode()
    assert set(manifest.sets) == set(manifest.metrics)
    for name, record in manifest.sets.items():
        (row,) = [line for line in card.splitlines() if line.startswith(f"| {name} |")]
        assert row.endswith(f" | {'; '.join(set_notes(record))} |")
        assert record.images == manifest.metrics[name].images
        assert "used for nothing else" not in card
    for name, predictions in (reports[0].predictions if reports else {}).items():
        record, images = manifest.sets[name], set(to_keys(predictions.split.digests).tolist())
        assert record.digest == predictions.split.digest
        assert record.fitted_by_network == len(images & recorded(network, "fit"))
        if not record.model:
            assert record.fitted_by_head == len(images & observed.keys("head fit"))
