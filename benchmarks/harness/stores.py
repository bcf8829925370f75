"""Model stores for benchmarks, made once by the project's own training and kept in a cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from benchmarks.harness.images import class_names
from models.artifacts.golden import synthetic_images
from models.artifacts.store import DEFAULT_STORE, Store
from models.console.progress import track
from models.console.tensorflow_logs import hide_startup_messages
from models.manifests import sha256
from training.estimators.boosted_trees import XGBoost
from training.recipes.load import load_recipe
from training.recipes.schema import Recipe
from training.runtime.context import RunContext
from training.runtime.folders import PROJECT

RECIPE = Path(__file__).parent / "speed.toml"
HEAD_COUNT = 20
_IMAGE_SIDE = 320
_IMAGES_PER_CLASS = {"train": 24, "test": 8}

Log = Callable[[str], None]


def speed_store(cache: Path, log: Log = print) -> Path:
    """Return a store with one classifier, `speed`, on InceptionV3 at 299 px."""
    return cached_folder(cache, "speed", lambda store: _train([load_recipe(str(RECIPE))], store, cache, log))


def many_heads_store(cache: Path, log: Log = print) -> Path:
    """Return a store with `HEAD_COUNT` classifiers on the extractor of `speed_store`."""
    single_head_store = speed_store(cache, log)
    recipe = load_recipe(str(RECIPE)).model_copy(update={"network": None})

    def make(store: Path) -> None:
        shutil.copytree(single_head_store, store, dirs_exist_ok=True)
        _train([head_variant(recipe, number) for number in range(1, HEAD_COUNT)], store, cache, log)

    return cached_folder(cache, "heads", make)


def shipped_store() -> Path:
    """Return the shipped store: InceptionV3 at 96 px with `cifar10`."""
    return DEFAULT_STORE


def head_names() -> list[str]:
    """Return the names of the classifiers in `many_heads_store`."""
    return ["speed", *(f"speed_{number:02}" for number in range(1, HEAD_COUNT))]


def head_variant(recipe: Recipe, number: int) -> Recipe:
    """Return the recipe of another head on the same features, with a different learning rate."""
    assert isinstance(recipe.head, XGBoost)
    head = recipe.head.model_copy(update={"learning_rate": round(0.1 + number / 1000, 3)})
    return recipe.model_copy(update={"name": f"speed_{number:02}", "head": head})


def cached_folder(cache: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache; if it does not exist, `make` fills it.

    The folder's name depends on the sources that determine its content. It is renamed into place, so that an
    interrupted call leaves no incomplete folder.
    """
    source_folders = (PROJECT / "models" / "engines", PROJECT / "training" / "extractor")
    sources = [RECIPE, Path(__file__), *(file for folder in source_folders for file in sorted(folder.glob("*.py")))]
    key = sha256(b"".join(file.read_bytes() for file in sources))[:12]
    folder = cache.resolve() / "stores" / f"{name}-{key}"
    if not folder.exists():
        incomplete = folder.with_name(f".{folder.name}")
        shutil.rmtree(incomplete, ignore_errors=True)
        incomplete.mkdir(parents=True)
        make(incomplete)
        incomplete.rename(folder)
    return folder


def _train(recipes: list[Recipe], store: Path, cache: Path, log: Log) -> None:
    with hide_startup_messages():
        from training.train import run
    data = _training_images(cache)
    for recipe in recipes:
        run(recipe, RunContext(Store(store), track, log, data, cache))


def _training_images(cache: Path) -> Path:
    """Return a dataset of generated images, in class folders for each split; no two of them look alike."""

    def make(root: Path) -> None:
        classes = class_names()
        for seed, (split, count) in enumerate(_IMAGES_PER_CLASS.items()):
            for number, pixels in enumerate(synthetic_images(_IMAGE_SIDE, count * len(classes), seed)):
                folder = root / split / classes[number % len(classes)]
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"{number:04}.jpg")

    return cached_folder(cache, "images", make)
