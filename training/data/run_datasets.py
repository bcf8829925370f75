"""The datasets of one training run, each of which is loaded and hashed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from training.data.dataset import Dataset, load_dataset
from training.data.split import StoredImage
from training.recipes.data import DatasetSpec
from training.recipes.network import Task
from training.recipes.schema import Recipe


class RunDatasets:
    """Loads the datasets of a recipe and keeps them."""

    def __init__(
        self,
        recipe: Recipe,
        data_path: Path | None,
        cache: Path,
        on_left_out: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        """Prepare to load the datasets of a recipe; nothing is read yet.

        Args:
            recipe: names the datasets.
            data_path: location of its [data]; of a recipe without [data], the folder that contains the datasets of
                its tasks. None means the data folder.
            cache: where archives are unpacked.
            on_left_out: called with a line for each entry of a dataset's folder that is not used, once for each.
        """
        self._recipe_data = recipe.data
        self._data_path = data_path
        self._cache = cache
        self._on_left_out = on_left_out
        self._left_out: set[str] = set()
        self._datasets: dict[tuple[str, tuple[str, ...], bool], Dataset] = {}
        self._digests: dict[StoredImage, str] = {}

    def of_recipe(self) -> Dataset:
        """Return the dataset of the recipe's [data].

        Raises:
            DatasetError: it cannot be opened.
        """
        assert self._recipe_data is not None, "the recipe has no [data]"
        return self._load(self._recipe_data, self._data_path)

    def of_task(self, task: Task) -> Dataset:
        """Return the dataset of a task of the recipe's network.

        Raises:
            DatasetError: it cannot be opened.
        """
        return self._load(task.data, self._location(task.data), task.classes, labelled=task.is_labelled)

    def _location(self, spec: DatasetSpec) -> Path | None:
        """Return where a task's dataset is: the recipe's own at `data_path`, others beside it or below it."""
        if self._data_path is None:
            return None
        if self._recipe_data is None:
            return self._data_path / spec.path
        is_own = spec.path == self._recipe_data.path
        return self._data_path if is_own else self._data_path.absolute().parent / spec.path

    def _load(
        self, spec: DatasetSpec, location: Path | None, class_ids: Sequence[str] = (), *, labelled: bool = True
    ) -> Dataset:
        # A recipe gives all datasets of the same path the same location.
        key = (spec.model_dump_json(), tuple(class_ids), labelled)
        if key not in self._datasets:
            dataset = load_dataset(spec, location, class_ids, self._cache, self._digests, labelled=labelled)
            self._datasets[key] = dataset
            self._on_left_out([line for line in dataset.left_out if line not in self._left_out])
            self._left_out.update(dataset.left_out)
        return self._datasets[key]
