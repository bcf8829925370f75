"""A small dataset, the recipe for it, and an extractor that needs no network."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from models.arrays import Pixels
from models.classifier import Extractor
from models.engines.base import Outputs, Runner
from models.heads import Floats
from models.manifests import WEIGHTS_FILE, ExtractorManifest
from training.recipes.schema import Recipe

CLASSES = ("blue", "green", "grey", "red")
SIZE = 32

#: A network that is quick to make and to run; its random weights tell colours apart well enough.
RECIPE = """
name = "colours"

[network]
architecture = "small_cnn"
size = 32
weights = "random"

[extractor]
name = "tiny_net"

[data]
path = "colours"

[preprocess]
size = 32

[head]
kind = "xgboost"
n_estimators = 10

[card]
title = "Colours"
about = "Pictures of noise, one channel of them brighter."
limits = ["It knows four colours."]
notices = "Drawn by a test."
"""


def recipe(**parts: Any) -> Recipe:
    """The recipe, with other parts instead."""
    return Recipe.model_validate(tomllib.loads(RECIPE) | parts)


def colours(folder: Path, *, train: int = 40, test: int = 20, classes: Sequence[str] = CLASSES) -> Path:
    """Draw `train` and `test` images of each class, each another one: FOLDER/SPLIT/CLASS/NUMBER.png."""
    random = np.random.default_rng(3)
    for split, count in (("train", train), ("test", test)):
        for name in classes:
            for number in range(count):
                picture = random.integers(0, 160, (30, 40, 3), dtype=np.uint8)
                picture[..., [i for i in range(3) if ("red", "green", "blue")[i] == name]] += 70
                path = folder / split / name / f"{number:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(path)
    return folder


@dataclass
class MeanColour:
    """An engine that answers with the mean colour of each quarter, and counts the images that it saw."""

    name: str = "fixture:float32"
    seen: int = 0
    batches: list[int] = field(default_factory=list)
    max_concurrent_runs: int = 1
    shares_cores: bool = False

    @property
    def concurrent(self) -> Runner:
        """Itself."""
        return self

    def preferred_batch_sizes(self, max_batch: int) -> range:
        """All."""
        return range(1, max_batch + 1)

    def warmup(self, max_batch: int) -> None:
        """Nothing waits for a first batch here."""

    def run(self, batch: Pixels) -> Outputs:
        self.seen += len(batch)
        self.batches.append(len(batch))
        half = batch.shape[1] // 2
        quarters = batch.reshape(len(batch), 2, half, 2, half, 3).mean(axis=(2, 4)).reshape(len(batch), 12)
        pooled = (quarters / 255).astype(np.float32)
        scores: Floats = np.exp(pooled[:, :4])
        return {"pooled": pooled, "top": scores / scores.sum(axis=1, keepdims=True)}


def extractor(engine: MeanColour | None = None, weights: str = "0" * 64) -> Extractor:
    """An extractor of mean colours; `weights` is the digest that it is told apart by."""
    manifest = ExtractorManifest(
        name="mean_colour",
        version=1,
        created="2026-01-01",
        network="fixture",
        input_size=SIZE,
        outputs={"pooled": 12, "top": 4},
        tops={"top": ("red", "green", "grey", "blue")},
        engines={},
        fitted_on={},
        recipe={},
        seed=0,
        libraries={},
        files={WEIGHTS_FILE: weights},
    )
    return Extractor(manifest, engine or MeanColour())
