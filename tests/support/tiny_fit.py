"""Two small datasets that a small network learns in a second, and its recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from models.preprocess import PreprocessSpec
from training.data.dataset import load_dataset
from training.network.history import HISTORY_FILE
from training.partition.partition import Partition
from training.recipes.data import DatasetSpec
from training.recipes.network import Fit, Network, Task

SIZE = 32


def network(**fit: object) -> Network:
    settings: dict[str, object] = {"passes": 3, "learning_rate": 0.003, "warmup_steps": 5, "checkpoint_steps": 10}
    tasks = (
        Task(
            top="colours",
            data=DatasetSpec(path="colours", test=""),
            preprocess=PreprocessSpec(size=SIZE, source=24),
            batch=12,
            crop_border=3,
        ),
        Task(
            top="stripes",
            data=DatasetSpec(path="stripes", test=""),
            preprocess=PreprocessSpec(size=SIZE, source=16),
            batch=8,
            loss_weight=0.5,
            crop_border=2,
        ),
    )
    return Network(
        architecture="small_cnn",
        size=SIZE,
        weights="random",
        tasks=tasks,
        fit=Fit.model_validate(settings | fit),
    )


def write(folder: Path, *, per_class: int = 40) -> None:
    """Write noise with one brighter channel (24 x 24 pixels), and noise in stripes (16 x 16 pixels)."""
    random = np.random.default_rng(5)
    for channel, name in enumerate(("red", "green", "blue")):
        for number in range(per_class):
            image = random.integers(0, 128, (24, 24, 3), dtype=np.uint8)
            image[..., channel] += 100
            _save(image, folder / "colours" / "train" / name / f"{number}.png")
    for axis, name in enumerate(("across", "down")):
        for number in range(per_class):
            row = random.integers(0, 256, (16, 3), dtype=np.uint8)
            image = np.broadcast_to(np.expand_dims(row, 1 - axis), (16, 16, 3)).copy()
            _save(image, folder / "stripes" / "train" / name / f"{number}.png")


def load(folder: Path) -> list[Partition]:
    """Return the partition of each task's dataset; no two of its images look alike."""
    return [Partition(load_dataset(task.data, folder / task.data.path)) for task in network().tasks]


def history_file(cache: Path) -> Path:
    """Return the file of the only fit in this cache."""
    (file,) = (cache / "fits").glob(f"*/{HISTORY_FILE}")
    return file


def _save(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
