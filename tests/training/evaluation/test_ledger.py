"""The ledger of a store counts every measurement of a set, whatever became of the model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from training.data.split import Split
from training.evaluation.ledger import LEDGER_FILE, Ledger


def split_of(*numbers: int) -> Split:
    digests = tuple(f"{number:064x}" for number in numbers)
    return Split(tuple(map(Path, digests)), np.array([number % 2 for number in numbers]), digests)


TEST, OTHER = split_of(1, 2, 3, 4), split_of(1, 2, 3)


def test_measurements_of_the_same_images_are_returned_oldest_first(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "store")
    assert ledger.of(TEST.digest) == []
    ledger.add("pets@1", [("test", TEST), ("valid", OTHER)])
    Ledger(tmp_path / "store").add("compare pets", [("test", split_of(4, 3, 2, 1))])
    found = ledger.of(TEST.digest)
    assert [(each.by, each.name, each.images) for each in found] == [("pets@1", "test", 4), ("compare pets", "test", 4)]
    assert [each.by for each in ledger.of(OTHER.digest)] == ["pets@1"]


def test_nothing_measured_writes_nothing(tmp_path: Path) -> None:
    Ledger(tmp_path / "store").add("pets@1", [])
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_line_that_a_killed_run_left_incomplete_does_not_spoil_the_next(tmp_path: Path, cut: int) -> None:
    ledger, file = Ledger(tmp_path), tmp_path / LEDGER_FILE
    ledger.add("first@1", [("test", TEST)])
    ledger.add("killed@1", [("test", TEST)])
    file.write_bytes(file.read_bytes()[:-cut])
    ledger.add("next@1", [("test", TEST)])
    whole = ["first@1", "killed@1", "next@1"] if cut == 1 else ["first@1", "next@1"]
    assert [each.by for each in ledger.of(TEST.digest)] == whole, "without its line break, a line is complete"


def test_concurrent_measurements_are_all_kept(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: Ledger(tmp_path).add(f"pets@{number}", [("test", TEST)]), range(40)))
    assert {each.by for each in Ledger(tmp_path).of(TEST.digest)} == {f"pets@{number}" for number in range(40)}


def test_second_store_is_used_if_the_first_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ledger = Ledger(tmp_path / "file", tmp_path / "own")
    ledger.add("pets@1", [("test", TEST)])
    assert [each.by for each in ledger.of(TEST.digest)] == ["pets@1"]
    assert (tmp_path / "own" / LEDGER_FILE).is_file()
    with pytest.raises(OSError, match="file"):
        Ledger(tmp_path / "file").add("pets@1", [("test", TEST)])
