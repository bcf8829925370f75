"""Probes: labelled datasets from other sources that a recipe measures in addition to its test set."""

from __future__ import annotations

from pathlib import Path

from training.data.archives import locate_root
from training.data.dataset import Dataset, read_split
from training.data.layout import find_split
from training.data.split import Split, StoredImage, make_split
from training.errors import DatasetError
from training.recipes.data import Probe
from training.recipes.schema import Recipe
from training.runtime.context import RunContext
from training.runtime.folders import DATA_FOLDER
from training.runtime.names import normalized


def load_probes(recipe: Recipe, dataset: Dataset, ctx: RunContext) -> dict[str, Split]:
    """Return the recipe's probes by name. Probes that are not on this machine are logged and skipped.

    Raises:
        DatasetError: a probe has a class that the dataset does not have.
    """
    assert recipe.data is not None
    parent = (ctx.data_path or DATA_FOLDER / recipe.data.path).absolute().parent
    splits = {}
    for probe in recipe.probes:
        location = parent / probe.path
        if location.exists():
            splits[probe.name] = _load_probe(probe, location, dataset, ctx)
        else:
            ctx.log(f"{probe.name}: not measured, since there is no {location}")
    return splits


def _load_probe(probe: Probe, location: Path, dataset: Dataset, ctx: RunContext) -> Split:
    by_class: dict[str, list[StoredImage]] = {}
    content = read_split(find_split(locate_root(location, probe.split, ctx.cache), probe.split))
    ctx.log_left_out(content.left_out(location.parent))
    names = {normalized(folder): normalized(name) for folder, name in probe.names.items()}
    for folder, images in content.classes.items():
        by_class.setdefault(names.get(folder, folder), []).extend(images)
    unknown = set(by_class) - set(dataset.class_names)
    if unknown:
        raise DatasetError(
            f"{location} has a class {min(unknown)!r} that {dataset.root.name} does not have. "
            "Map it to a class in the probe's `names`."
        )
    return make_split(by_class, dataset.class_names)
