"""An import that fails, is killed or runs twice leaves a complete dataset or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from models.console.progress import Advance
from tests.support.class_folders import GOOD, contents, write
from training.errors import DatasetError
from training.ingest.class_folders import import_class_folders
from training.ingest.staging import stage_dataset


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "source", GOOD)


def test_existing_dataset_is_replaced_only_on_request(source: Path, data: Path) -> None:
    write(data / "pets", {"mine": b"x"})
    with pytest.raises(DatasetError, match="--replace"):
        import_class_folders("pets", source, data)
    assert contents(data / "pets") == {"mine": b"x"}
    import_class_folders("pets", source, data, replace=True)
    assert contents(data / "pets") == GOOD
    assert [entry.name for entry in data.iterdir()] == ["pets"]


def test_data_folder_that_is_a_file_is_rejected(source: Path, data: Path) -> None:
    data.write_bytes(b"")
    with pytest.raises(DatasetError, match="failed and changed nothing"):
        import_class_folders("pets", source, data)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failed_import_leaves_the_existing_dataset(source: Path, data: Path, error: BaseException) -> None:
    @contextmanager
    def failing(description: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
        def advance(count: int) -> NoReturn:
            raise error

        yield advance if description == "Storing" else lambda count: None

    write(data / "pets", {"mine": b"x"})
    with pytest.raises((DatasetError, KeyboardInterrupt)):
        import_class_folders("pets", source, data, replace=True, track=failing)
    assert contents(data) == {"pets/mine": b"x"}


def test_leftovers_of_a_killed_import_are_removed(source: Path, data: Path) -> None:
    write(data / ".importing-pets" / "dataset", {"train/cats/half.png": b"x"})
    import_class_folders("pets", source, data)
    assert contents(data / "pets") == GOOD
    assert [entry.name for entry in data.iterdir()] == ["pets"]


def test_concurrent_import_of_the_same_dataset_is_rejected(source: Path, data: Path) -> None:
    with stage_dataset(data / "pets") as first:
        write(first.dataset, {"mine": b"x"})
        with pytest.raises(DatasetError, match="Another import"):
            import_class_folders("pets", source, data)
    assert contents(data) == {"pets/mine": b"x"}
