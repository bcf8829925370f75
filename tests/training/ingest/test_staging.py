"""A dataset is there whole or not at all, whatever happens to its import."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from models.console.progress import Advance
from tests.support.class_folders import GOOD, contents, write
from training.errors import DatasetError
from training.ingest.class_folders import import_folders
from training.ingest.staging import staged


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "source", GOOD)


def test_existing_dataset(source: Path, data: Path) -> None:
    write(data / "pets", {"mine": b"x"})
    with pytest.raises(DatasetError, match="--replace"):
        import_folders("pets", source, data)
    assert contents(data / "pets") == {"mine": b"x"}
    import_folders("pets", source, data, replace=True)
    assert contents(data / "pets") == GOOD
    assert [entry.name for entry in data.iterdir()] == ["pets"]


def test_data_folder_that_is_a_file(source: Path, data: Path) -> None:
    data.write_bytes(b"")
    with pytest.raises(DatasetError, match="nothing was changed"):
        import_folders("pets", source, data)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_import_that_stops_half_way_leaves_nothing(source: Path, data: Path, error: BaseException) -> None:
    @contextmanager
    def failing(description: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
        def advance(count: int) -> NoReturn:
            raise error

        yield advance if description == "Storing" else lambda count: None

    write(data / "pets", {"mine": b"x"})
    with pytest.raises((DatasetError, KeyboardInterrupt)):
        import_folders("pets", source, data, replace=True, track=failing)
    assert contents(data) == {"pets/mine": b"x"}


def test_what_a_killed_import_left_is_removed(source: Path, data: Path) -> None:
    write(data / ".importing-pets" / "dataset", {"train/cats/half.png": b"x"})
    import_folders("pets", source, data)
    assert contents(data / "pets") == GOOD
    assert [entry.name for entry in data.iterdir()] == ["pets"]


def test_second_import_of_the_same_name_leaves_the_first_alone(source: Path, data: Path) -> None:
    with staged(data / "pets") as first:
        write(first.dataset, {"mine": b"x"})
        with pytest.raises(DatasetError, match="Another import"):
            import_folders("pets", source, data)
    assert contents(data) == {"pets/mine": b"x"}
