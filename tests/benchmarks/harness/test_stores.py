from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.harness import stores
from training.recipes.load import load_recipe


def test_heads_on_one_extractor_are_distinct() -> None:
    recipe = load_recipe(str(stores.RECIPE))
    variants = [stores.head_variant(recipe, number) for number in range(1, stores.HEAD_COUNT)]
    assert ["speed", *(variant.name for variant in variants)] == stores.head_names()
    assert len({variant.head for variant in [recipe, *variants]}) == stores.HEAD_COUNT


def test_folder_is_made_again_after_a_failure_and_only_then(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        stores.cached_folder(tmp_path, "store", fail)
    complete = stores.cached_folder(tmp_path, "store", lambda folder: (folder / "whole").touch())
    assert [file.name for file in complete.iterdir()] == ["whole"]
    assert stores.cached_folder(tmp_path, "store", fail) == complete
