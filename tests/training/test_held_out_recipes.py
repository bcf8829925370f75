"""Every shipped recipe that needs no download, on a slice of real images: its record is what reached each stage."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from models.artifacts.store import DEFAULT_STORE
from tests.support.held_out import observe, run
from tests.support.paths import SHARED_DATA
from training.recipes.load import load_recipe
from training.recipes.schema import Recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

#: dataset -> archive, and images of each class of a split
SLICES = {
    "cifar10": ("cifar10-jpeg.tar.gz", {"train": 24, "test": 6}),
    "tiny-imagenet": ("tiny-imagenet.tar.gz", {"train": 3, "val": 1}),
    "cats-vs-dogs": ("cats-vs-dogs.tar", {"train": 40, "valid": 12}),
    "kangaroo-wallaby": ("kangaroo-wallaby.tar", {"train": 40, "valid": 12, "test": 12}),
}
#: recipe -> its dataset, or a folder of datasets; weights; passes
RECIPES: dict[str, tuple[str, str | None, float | None]] = {
    "cifar10": ("cifar10", None, None),
    "cats_dogs_stacked": ("cats-vs-dogs", None, None),
    "kangaroo_wallaby_stacked": ("kangaroo-wallaby", None, None),
    "own": ("kangaroo-wallaby", None, None),
    "cats_dogs_finetuned": ("cats-vs-dogs", None, 1),
    "kangaroo_wallaby_finetuned": ("kangaroo-wallaby", None, 1),
    "cats_dogs_cnn": ("cats-vs-dogs", None, 1),
    "kangaroo_wallaby_vgg19": ("kangaroo-wallaby", "random", 0.25),
    "cifar10_stacked": ("cifar10", "random", None),
    "extractor_offline": ("", "random", 0.2),
}


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the slices, always the same images."""
    folder = tmp_path_factory.mktemp("slices")
    for name, (archive, counts) in SLICES.items():
        if not (SHARED_DATA / archive).is_file():
            pytest.skip(f"needs shared/data/{archive} next to the project")
        unpack_slice(SHARED_DATA / archive, folder / name, counts)
    return folder


def unpack_slice(archive: Path, folder: Path, counts: dict[str, int]) -> None:
    """Extract some images of each class, drawn by the digest of their names."""
    classes: dict[tuple[str, str], list[str]] = defaultdict(list)
    with tarfile.open(archive) as members:
        for member in members:
            *_, split, label, _ = ["", "", *PurePosixPath(member.name).parts]
            if member.isfile() and split in counts:
                classes[split, label].append(member.name)
    drawn = {
        name: folder / split / label / PurePosixPath(name).name
        for (split, label), names in classes.items()
        for name in sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[: counts[split]]
    }
    with tarfile.open(archive) as members:  # in their order, since going back in a compressed archive is slow
        for member in members:
            content = members.extractfile(member) if member.name in drawn else None
            if content is not None:
                drawn[member.name].parent.mkdir(parents=True, exist_ok=True)
                drawn[member.name].write_bytes(content.read())


def shortened(name: str) -> Recipe:
    """Return a recipe with few steps, and boosted trees of few rounds."""
    _, weights, passes = RECIPES[name]
    recipe = load_recipe(name).with_overrides(weights=weights, passes=passes)
    if name == "cifar10_stacked":
        recipe = recipe.with_head(output="pooled")  # only ImageNet's weights have a top
    update: dict[str, Any] = {}
    if recipe.network and recipe.network.fit:
        fit = recipe.network.fit.model_copy(
            update={"statistics_batches": min(1, recipe.network.fit.statistics_batches)}
        )
        update["network"] = recipe.network.model_copy(update={"fit": fit})
    if recipe.head and recipe.head.kind == "xgboost":
        update["head"] = recipe.head.model_copy(update={"n_estimators": 5})
    return recipe.model_copy(update=update)


@pytest.mark.parametrize("name", RECIPES)
def test_record_of_a_shipped_recipe_is_what_reached_each_stage(
    name: str, slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = shortened(name)
    observed = observe(tmp_path, slices / RECIPES[name][0], recipe)
    starts_from = f"{recipe.extractor.name} {recipe.network.weights if recipe.network else ''}"
    if "inception_v3_96" in starts_from and name != "extractor_offline":
        shipped = DEFAULT_STORE / "extractors" / "inception_v3_96"
        shutil.copytree(shipped, observed.ctx.store.root / "extractors" / shipped.name)
    classifier = run(recipe, observed, monkeypatch)
    assert observed.keys("network fit", "head fit") or recipe.head is None or recipe.head.kind == "softmax"
    if classifier and "inception_v3_96" in starts_from:
        sees_holdout = bool(classifier.manifest.sets["holdout"].fitted_by_network)
        assert sees_holdout == (name == "cifar10"), "the shipped network saw images of this dataset"
        assert classifier.manifest.sets["holdout"].unrecorded
