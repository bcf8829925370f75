"""The ledger of a store counts every measurement of a set, whatever became of the model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from models.artifacts.store import MANIFEST_FILE, Store
from models.manifests import CARD_FILE, HEAD_FILE, ClassifierManifest, SetRecord
from tests.support.manifests import classifier_manifest
from training.data.split import Split
from training.evaluation.ledger import LEDGER_FILE, Ledger


def split_of(*numbers: int) -> Split:
    digests = tuple(f"{number:064x}" for number in numbers)
    return Split(tuple(map(Path, digests)), np.array([number % 2 for number in numbers]), digests)


def ledger_at(*stores: Path) -> Ledger:
    """Return a ledger of stores that must be writable."""
    return Ledger(*stores, log=pytest.fail)


TEST, OTHER = split_of(1, 2, 3, 4), split_of(1, 2, 3)


def test_measurements_of_the_same_images_are_returned_oldest_first(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path / "store")
    assert ledger.of(TEST.digest) == []
    ledger.add("pets@1", [("test", TEST), ("valid", OTHER)])
    ledger_at(tmp_path / "store").add("compare pets", [("test", split_of(4, 3, 2, 1))])
    found = ledger.of(TEST.digest)
    assert [(each.by, each.name, each.images) for each in found] == [("pets@1", "test", 4), ("compare pets", "test", 4)]
    assert [each.by for each in ledger.of(OTHER.digest)] == ["pets@1"]


def test_nothing_measured_writes_nothing(tmp_path: Path) -> None:
    ledger_at(tmp_path / "store").add("pets@1", [])
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_line_that_a_killed_run_left_incomplete_does_not_spoil_the_next(tmp_path: Path, cut: int) -> None:
    ledger, file = ledger_at(tmp_path), tmp_path / LEDGER_FILE
    ledger.add("first@1", [("test", TEST)])
    ledger.add("killed@1", [("test", TEST)])
    file.write_bytes(file.read_bytes()[:-cut])
    ledger.add("next@1", [("test", TEST)])
    whole = ["first@1", "killed@1", "next@1"] if cut == 1 else ["first@1", "next@1"]
    assert [each.by for each in ledger.of(TEST.digest)] == whole, "without its line break, a line is complete"


def test_concurrent_measurements_are_all_kept(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ledger_at(tmp_path).add(f"pets@{number}", [("test", TEST)]), range(40)))
    assert {each.by for each in ledger_at(tmp_path).of(TEST.digest)} == {f"pets@{number}" for number in range(40)}


@pytest.mark.parametrize("cut", [12, 13])
def test_line_that_ends_within_a_character_does_not_spoil_the_others(tmp_path: Path, cut: int) -> None:
    ledger_at(tmp_path).add("first@1", [("test", TEST)])
    file = tmp_path / LEDGER_FILE
    with file.open("ab") as ledger:
        ledger.write('{"name":"prüfen'.encode()[:cut])
    ledger_at(tmp_path).add("next@1", [("pr\u2028fen", TEST)])
    assert [each.by for each in ledger_at(tmp_path).of(TEST.digest)] == ["first@1", "next@1"]


def test_second_store_is_used_if_the_first_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ledger = ledger_at(tmp_path / "file", tmp_path / "own")
    ledger.add("pets@1", [("test", TEST)], written_to=tmp_path / "own")
    (found,) = ledger.of(TEST.digest)
    assert (found.by, Path(found.store)) == ("pets@1", tmp_path / "own")
    assert (tmp_path / "own" / LEDGER_FILE).is_file()


def test_measurement_that_no_store_can_record_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    lines: list[str] = []
    ledger = Ledger(tmp_path / "file", log=lines.append)
    ledger.add("pets@1", [])
    assert lines == []
    ledger.add("pets@1", [("test", TEST)])
    (line,) = lines
    assert line.startswith("not recorded")
    assert str(tmp_path / "file") in line


def test_artifact_that_came_with_its_store_counts_as_a_measurement(tmp_path: Path) -> None:
    contents = {HEAD_FILE: b"a head", CARD_FILE: b"# Pets"}
    sets = {"test": SetRecord(digest=TEST.digest, images=4)}
    manifest = classifier_manifest(contents, sets=sets)
    artifact = Store(tmp_path).add(ClassifierManifest, manifest.name, lambda version: (manifest, contents))
    assert [each.by for each in ledger_at(tmp_path).of(TEST.digest)] == [artifact.label]
    ledger_at(tmp_path).add(artifact.label, [("test", TEST)])
    assert [each.by for each in ledger_at(tmp_path).of(TEST.digest)] == [artifact.label], "it is counted once"


def test_damaged_artifact_does_not_hide_the_measurements_of_the_others(tmp_path: Path) -> None:
    contents = {HEAD_FILE: b"a head", CARD_FILE: b"# Pets"}
    manifest = classifier_manifest(contents, sets={"test": SetRecord(digest=TEST.digest, images=4)})
    whole, damaged = (
        Store(tmp_path).add(ClassifierManifest, manifest.name, lambda version: (manifest, contents)) for _ in range(2)
    )
    (damaged.folder / MANIFEST_FILE).write_bytes(b"{}")
    assert [each.by for each in ledger_at(tmp_path).of(TEST.digest)] == [whole.label]
