"""Images that a model was made with are recorded by digest, inherited by later models, and unknown for older ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.artifacts.store import ExtractorArtifact, Store
from models.manifests import SEEN_FILE, WEIGHTS_FILE, ExtractorManifest
from tests.support.manifests import extractor_manifest
from training.data.dataset import Dataset
from training.data.split import Split
from training.evaluation.seen import UNRECORDED, SeenImages, seen_by_artifact, seen_by_run, seen_of, to_keys
from training.partition.partition import FIT, HOLDOUT, Partition
from training.partition.record import Record, Stage, Use


def split_of(first: int, count: int) -> Split:
    digests = tuple(f"{number:x}".rjust(16, "0") + "f" * 48 for number in range(first, first + count))
    return Split(tuple(map(Path, digests)), np.sort(np.arange(count, dtype=np.int64) % 2), digests)


DATA = Dataset(Path("pets"), ("cat", "dog"), ("cat", "dog"), split_of(0, 40), split_of(1000, 10))


def save(store: Path, fitted_on: dict[str, object], seen: SeenImages | None = None) -> ExtractorArtifact:
    contents = {WEIGHTS_FILE: b"weights"} | ({SEEN_FILE: seen.to_npz()} if seen else {})
    return Store(store).add(
        ExtractorManifest,
        "tiny_net",
        lambda version: (extractor_manifest(contents, version=version, fitted_on=fitted_on), contents),
    )


def made() -> SeenImages:
    partition = Partition(DATA, record=Record())
    partition.hand_out(Stage.NETWORK, FIT, Use.FIT)
    partition.hand_out(Stage.NETWORK, HOLDOUT, Use.CHOOSE)
    partition.hand_out(Stage.ENGINES, "test", Use.MEASURE)
    return seen_by_run(partition.record)


def test_record_of_a_run_is_saved_and_read_again(tmp_path: Path) -> None:
    seen = made()
    read = seen_by_artifact(save(tmp_path, {UNRECORDED: ["imagenet md5:1"]}, seen))
    assert read.keys.keys() == {"fit.network", "choose.network", "measure.engines"}
    for name, keys in seen.keys.items():
        np.testing.assert_array_equal(read.keys[name], keys)
    assert (read.unrecorded, read.is_recorded) == (("imagenet md5:1",), True)
    partition = Partition(DATA)
    counts = {name: read.count(Use.FIT, partition._sets[name]) for name in (FIT, HOLDOUT, "test")}
    assert counts == {FIT: 38, HOLDOUT: 0, "test": 0}
    assert read.uses(partition._sets[HOLDOUT]) == ("choose.network",)
    assert read.uses(partition._sets["test"]) == ()


def test_same_images_give_the_same_file() -> None:
    assert made().to_npz() == made().to_npz()


def test_model_inherits_fits_and_choices_of_its_initial_weights() -> None:
    later = SeenImages({"fit.network": to_keys(split_of(5000, 3).digests)}, ("a file",))
    joined = made().inherited().joined_with(later)
    assert joined.keys.keys() == {"fit.network", "choose.network"}, "what was measured has no effect on weights"
    assert joined.count(Use.FIT, split_of(0, 40)) == 38
    assert joined.count(Use.FIT, split_of(5000, 3)) == 3
    assert joined.unrecorded == ("a file",)


def test_extractor_without_a_record_is_unknown_and_so_is_what_starts_from_it(tmp_path: Path) -> None:
    seen = seen_by_artifact(save(tmp_path, {}))
    assert (seen.is_recorded, seen.unrecorded) == (False, ("tiny_net@1",))
    later = seen.inherited().joined_with(made())
    assert (later.is_recorded, later.unrecorded) == (True, ("tiny_net@1",)), "its own images are known"


@pytest.mark.parametrize(("held_out", "expected"), [(2, (38, 0)), (0, (38, 2))])
def test_digest_of_the_whole_dataset_tells_what_was_fitted_on(
    tmp_path: Path, held_out: int, expected: tuple[int, int]
) -> None:
    fit = {"dataset": "pets", "digest": DATA.digest, "held_out_images": held_out}
    partition = Partition(DATA)
    seen = seen_of(save(tmp_path, {"start": "random", "top": fit}), partition, "pets")
    assert tuple(seen.count(Use.FIT, partition._sets[name]) for name in (FIT, HOLDOUT)) == expected
    assert seen.unrecorded == ("tiny_net@1",), "what its initial weights saw"


def test_dataset_of_the_same_name_is_mentioned(tmp_path: Path) -> None:
    artifact = save(tmp_path, {"top": {"dataset": "pets", "digest": "other"}})
    same, other = (seen_of(artifact, Partition(DATA), name) for name in ("pets", "birds"))
    assert "fitted on a dataset of the same name" in same.unrecorded[0]
    assert other.unrecorded == ("tiny_net@1",)
    assert not same.is_recorded
