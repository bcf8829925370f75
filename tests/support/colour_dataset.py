"""A small dataset of four colours on disk, its recipe, and an extractor for it that needs no network."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from models.classifier import Extractor
from models.manifests import WEIGHTS_FILE
from models.networks import POOLED
from tests.support.colour_engine import FEATURES, ColourEngine
from tests.support.fake_classifiers import fake_extractor
from training.recipes.schema import Recipe

CLASSES = ("blue", "green", "grey", "red")
SIZE = 32

#: The network is quick to build and to run; its random weights separate colours well enough.
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
about = "Images of noise, one channel of them brighter."
limits = ["It knows four colours."]
notices = "Drawn by a test."
"""


def recipe(**parts: Any) -> Recipe:
    """Return the recipe; `parts` replace its parts."""
    return Recipe.model_validate(tomllib.loads(RECIPE) | parts)


def write(folder: Path, *, train: int = 40, test: int = 20, classes: Sequence[str] = CLASSES) -> Path:
    """Write FOLDER/SPLIT/CLASS/NUMBER.png: `train` and `test` images of each class, all different."""
    random = np.random.default_rng(3)
    for split, count in (("train", train), ("test", test)):
        for name in classes:
            for number in range(count):
                pixels = random.integers(0, 160, (30, 40, 3), dtype=np.uint8)
                pixels[..., [i for i in range(3) if ("red", "green", "blue")[i] == name]] += 70
                path = folder / split / name / f"{number:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return folder


def extractor(engine: ColourEngine | None = None, weights: str = "0" * 64) -> Extractor:
    """Return an extractor of mean colours; `weights` is the digest of its weights, by which caches identify it."""
    return fake_extractor(
        "mean_colour",
        engine,
        outputs={POOLED: FEATURES, "colour": 4},
        tops={"colour": ("red", "green", "grey", "blue")},
        engines={},
        files={WEIGHTS_FILE: weights},
    )
