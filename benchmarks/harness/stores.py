"""Stores for measuring speed, made once by the project's own training and kept in a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import images as pictures
from models.artifacts.store import DEFAULT_STORE, Store
from models.console.progress import track
from models.console.tensorflow_logs import hide_startup_messages
from models.manifests import sha256
from training.data.dataset import PROJECT
from training.estimators.heads import XGBoost
from training.recipes import schema as recipes
from training.recipes.schema import Recipe
from training.runtime.context import RunContext

RECIPE = Path(__file__).parent / "speed.toml"
HEADS = 20
_ENGINES = PROJECT / "models" / "engines"
_SIDE = 320
_EACH = {"train": 24, "test": 8}


def speed_store(cache: Path, say: Callable[[str], None] = print) -> Path:
    """A store with one classifier, `speed`, on InceptionV3 at 299 px."""
    return made(cache, "speed", lambda store: _run([recipes.load(str(RECIPE))], store, cache, say))


def many_heads_store(cache: Path, say: Callable[[str], None] = print) -> Path:
    """The same with `HEADS` classifiers on that extractor: `speed`, `speed_01`, ..."""
    one = speed_store(cache, say)
    recipe = recipes.load(str(RECIPE)).model_copy(update={"network": None})

    def make(store: Path) -> None:
        shutil.copytree(one, store, dirs_exist_ok=True)
        _run([variant(recipe, number) for number in range(1, HEADS)], store, cache, say)

    return made(cache, "heads", make)


def shipped_store() -> Path:
    """The store that is shipped: InceptionV3 at 96 px with `cifar10`."""
    return DEFAULT_STORE


def head_names() -> list[str]:
    """The classifiers of `many_heads_store`."""
    return ["speed", *(f"speed_{number:02}" for number in range(1, HEADS))]


def variant(recipe: Recipe, number: int) -> Recipe:
    """Another head on the same features: no two trees are the same."""
    assert isinstance(recipe.head, XGBoost)
    head = recipe.head.model_copy(update={"learning_rate": round(0.1 + number / 1000, 3)})
    return recipe.model_copy(update={"name": f"speed_{number:02}", "head": head})


def _run(all_recipes: list[Recipe], store: Path, cache: Path, say: Callable[[str], None]) -> None:
    with hide_startup_messages():
        from training.train import run
    data = _pictures(cache)
    for recipe in all_recipes:
        run(recipe, RunContext(Store(store), track, say, data, cache))


def _pictures(cache: Path) -> Path:
    """A folder for each split, in it one for each example."""

    def write(root: Path) -> None:
        for seed, (split, each) in enumerate(_EACH.items()):
            classes = pictures.names()
            for number, data in enumerate(pictures.jpegs(each * len(classes), _SIDE, seed=seed)):
                folder = root / split / classes[number % len(classes)]
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{number:04}.jpg").write_bytes(data)

    return made(cache, "pictures", write)


def made(cache: Path, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that is there whole or not at all; what would come out otherwise lies in another one."""
    training = PROJECT / "training"
    sources = [
        RECIPE,
        Path(__file__),
        training / "extractors.py",
        training / "proof.py",
        *sorted(_ENGINES.glob("*.py")),
    ]
    key = sha256(b"".join(file.read_bytes() for file in sources))[:12]
    folder = cache.resolve() / "stores" / f"{name}-{key}"
    if not folder.exists():
        unfinished = folder.with_name(f".{folder.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        make(unfinished)
        unfinished.rename(folder)
    return folder
