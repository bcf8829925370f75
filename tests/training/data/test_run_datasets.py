"""The datasets of one run are loaded once, and each image is hashed once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support import colour_dataset
from training.data import split
from training.data.run_datasets import RunDatasets
from training.data.split import StoredImage

_TASK: dict[str, Any] = {
    "top": "colour",
    "data": {"path": "colours", "valid": "test", "test": ""},
    "preprocess": {"size": 32},
    "batch": 8,
}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[StoredImage]:
    """How often each image was hashed."""
    counter: Counter[StoredImage] = Counter()
    digest = split._digest

    def counting_digest(image: StoredImage) -> str:
        counter[image] += 1
        return digest(image)

    monkeypatch.setattr(split, "_digest", counting_digest)
    return counter


def test_each_image_is_hashed_once_for_all_datasets(colours: Path, tmp_path: Path, reads: Counter[StoredImage]) -> None:
    reordered = _TASK | {"top": "reordered", "classes": ["red", "green", "grey", "blue"]}
    network = {"architecture": "small_cnn", "size": 32, "weights": "random", "tasks": [_TASK, reordered]}
    recipe = colour_dataset.recipe(network=network)
    assert recipe.network
    datasets = RunDatasets(recipe, colours, tmp_path)
    own = datasets.of_recipe()
    task, other_task = (datasets.of_task(task) for task in recipe.network.tasks)
    assert set(reads.values()) == {1}
    assert len(reads) == 240
    assert own.test is not None
    assert task.valid is not None
    assert (own.train.digests, own.test.digests) == (task.train.digests, task.valid.digests)
    assert other_task.class_ids == ("red", "green", "grey", "blue")
    assert sorted(other_task.train.digests) == sorted(own.train.digests)


def test_dataset_is_loaded_once(colours: Path, tmp_path: Path) -> None:
    datasets = RunDatasets(colour_dataset.recipe(), colours, tmp_path)
    assert datasets.of_recipe() is datasets.of_recipe()
