"""Features come through the serving path, each once, and survive a kill."""

from __future__ import annotations

import fcntl
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.arrays import Pixels
from models.classifier import BatchItem, Embedding, classify
from models.engines.base import Outputs
from models.heads import Floats
from models.offline.loader import BATCH as AHEAD
from models.preprocess import PreprocessSpec, prepare
from tests.support import drawn
from tests.support.drawn import MeanColour
from tests.support.paths import ROOT
from training.data import dataset as datasets
from training.data.dataset import Split
from training.data.loader import prepared_batches
from training.errors import DatasetError
from training.heads import features
from training.heads.features import BATCH, FeatureCache
from training.recipes.schema import Data

SPEC = PreprocessSpec(size=drawn.SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.colours(tmp_path_factory.mktemp("data") / "colours", train=50, test=5)


@pytest.fixture(scope="module")
def images(folder: Path) -> Split:
    return datasets.load(Data(path="colours"), folder).train


def extract(images: Split, engine: MeanColour, cache: Path, spec: PreprocessSpec = SPEC, **named: str) -> Floats:
    extractor = drawn.extractor(engine, named.get("weights", "0" * 64))
    return features.extract(images, extractor, named.get("output", "pooled"), spec, cache)


def rows_in(cache: Path) -> list[int]:
    """Bytes of the rows of each cache."""
    return sorted(path.stat().st_size for path in cache.rglob("rows.float32"))


def test_features_are_those_of_the_serving_path_in_the_order_of_the_images(images: Split, tmp_path: Path) -> None:
    found = extract(images, MeanColour(), tmp_path)
    assert found.dtype == np.float32
    pixels = np.stack([prepare(path.read_bytes(), [SPEC])[SPEC] for path in images.paths])
    assert np.array_equal(found, MeanColour().run(pixels)["pooled"])
    reverse = np.arange(len(images))[::-1].astype(np.int64)
    assert np.array_equal(extract(images.take(reverse), MeanColour(), tmp_path), found[::-1])


def test_no_image_is_computed_twice(images: Split, tmp_path: Path) -> None:
    engine = MeanColour()
    told: list[int] = []
    half = images.take(np.arange(0, len(images), 2))
    extract(half, engine, tmp_path)
    assert engine.seen == len(half)
    features.extract(images, drawn.extractor(engine), "pooled", SPEC, tmp_path, told.append)
    assert engine.seen == len(images)
    assert told[0] == len(half), "cached images are done at once"
    assert sum(told) == len(images)
    extract(images, engine, tmp_path)
    assert engine.seen == len(images)
    assert max(engine.batches) <= BATCH


def test_equal_bytes_are_one_image_wherever_they_lie(images: Split, tmp_path: Path) -> None:
    (tmp_path / "again.png").write_bytes(images.paths[0].read_bytes())
    twice = Split(
        (tmp_path / "again.png", *images.paths[:2]), images.labels[:3], images.digests[:1] + images.digests[:2]
    )
    engine = MeanColour()
    found = extract(twice, engine, tmp_path)
    assert engine.seen == 2
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_an_image_that_has_changed_is_another_one_whatever_its_name(tmp_path: Path) -> None:
    folder = drawn.colours(tmp_path / "colours", train=2, test=1)
    before = datasets.load(Data(path="colours"), folder).train
    extract(before, MeanColour(), tmp_path / "cache")
    shutil.copyfile(folder / "test/red/000.png", folder / "train/blue/000.png")
    after = datasets.load(Data(path="colours"), folder).train
    engine = MeanColour()
    found = extract(after, engine, tmp_path / "cache")
    assert after.paths == before.paths
    assert engine.seen == 1
    assert np.array_equal(found, extract(after, MeanColour(), tmp_path / "elsewhere"))


def test_a_cache_can_be_filled_without_reading_it(images: Split, tmp_path: Path) -> None:
    engine = MeanColour()
    features.fill(images, drawn.extractor(engine), "pooled", SPEC, tmp_path)
    assert engine.seen == len(images)
    assert np.array_equal(extract(images, engine, tmp_path), extract(images, MeanColour(), tmp_path / "elsewhere"))
    assert engine.seen == len(images)


def test_another_spec_extractor_output_or_engine_has_another_cache(images: Split, tmp_path: Path) -> None:
    few = images.take(np.arange(3))
    engine = MeanColour()
    extract(few, engine, tmp_path)
    extract(few, engine, tmp_path, weights="1" * 64)
    extract(few, engine, tmp_path, output="top")
    for spec in (PreprocessSpec(size=drawn.SIZE, source=16), PreprocessSpec(size=drawn.SIZE, crop="none")):
        extract(few, engine, tmp_path, spec)
    bfloat16 = MeanColour("fixture:bfloat16")
    extract(few, bfloat16, tmp_path)
    assert (engine.seen, bfloat16.seen) == (5 * 3, 3)
    assert len(rows_in(tmp_path)) == 6


@pytest.mark.parametrize(
    ("file", "cut"),
    [("rows.float32", 17), ("rows.float32", 4 * 12 * 10), ("index.sha256", 5), ("index.sha256", 32 * 10)],
)
def test_half_a_row_is_cut_off_and_computed_again(images: Split, tmp_path: Path, file: str, cut: int) -> None:
    expected = extract(images, MeanColour(), tmp_path)
    (path,) = tmp_path.rglob(file)
    with path.open("r+b") as content:
        content.truncate(path.stat().st_size - cut)
    engine = MeanColour()
    assert np.array_equal(extract(images, engine, tmp_path), expected)
    assert engine.seen == (1 if cut < 32 else 10)
    assert rows_in(tmp_path) == [expected.nbytes]


KILLED = """
import sys
from pathlib import Path
from models.preprocess import PreprocessSpec
from tests.training import drawn
from tests.training.killed import kill_at
from training import datasets, features
from training.recipe import Data
images = datasets.load(Data(path="colours"), Path(sys.argv[1])).train
features.available_cores = lambda: 1  # on many, all images would be in the making at once
kill_at("open", ".png", 160)
features.extract(images, drawn.extractor(), "pooled", PreprocessSpec(size=drawn.SIZE), Path(sys.argv[2]))
"""


def test_a_killed_extraction_goes_on_from_where_it_was(folder: Path, images: Split, tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, folder, tmp_path], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    (path,) = tmp_path.rglob("rows.float32")
    (index,) = tmp_path.rglob("index.sha256")
    # The kill may fall between a batch's rows and their entries; a row without an entry counts for nothing.
    done = min(path.stat().st_size // (4 * 12), index.stat().st_size // 32)
    assert 0 < done < len(images)
    before = path.read_bytes()[: done * 4 * 12]
    engine = MeanColour()
    found = extract(images, engine, tmp_path)
    assert engine.seen == len(images) - done
    assert path.read_bytes().startswith(before)
    assert np.array_equal(found, extract(images, MeanColour(), tmp_path / "elsewhere"))


def test_no_more_batches_are_in_the_network_than_it_has_lanes(images: Split, tmp_path: Path) -> None:
    running, most = 0, 0
    lock = threading.Lock()

    class Watched(MeanColour):
        def run(self, batch: Pixels) -> Outputs:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.01)
            found = super().run(batch)
            with lock:
                running -= 1
            return found

    many = Split(images.paths, images.labels, tuple(f"{number:064x}" for number in range(len(images))))
    for lanes in (1, 2):
        extract(many, Watched(max_concurrent_runs=lanes), tmp_path / str(lanes))
        assert most == lanes


def test_an_engine_that_fails_ends_the_extraction_and_what_was_done_stays(images: Split, tmp_path: Path) -> None:
    class Failing(MeanColour):
        def run(self, batch: Pixels) -> Outputs:
            if self.seen >= 2 * BATCH:
                raise RuntimeError("out of memory")
            return super().run(batch)

    threads = threading.active_count()
    with pytest.raises(RuntimeError, match="out of memory"):
        extract(images, Failing(), tmp_path)
    assert threading.active_count() == threads
    again = MeanColour()
    extract(images, again, tmp_path)
    assert again.seen <= len(images)


def test_a_second_run_on_a_cache_waits_for_the_first(images: Split, tmp_path: Path) -> None:
    """Rows of two writers would come to lie in another order than their digests."""
    expected = extract(images, MeanColour(), tmp_path / "alone")
    engines = [MeanColour(), MeanColour()]
    found: list[Floats] = []
    runs = [
        threading.Thread(target=lambda engine=engine: found.append(extract(images, engine, tmp_path / "both")))
        for engine in engines
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert sorted(engine.seen for engine in engines) == [0, len(images)]
    assert all(np.array_equal(each, expected) for each in found)


def test_a_cache_is_free_once_it_is_closed(tmp_path: Path) -> None:
    with FeatureCache(tmp_path, 2) as rows:
        rows.append(["aa" * 32], np.ones((1, 2), np.float32))
        assert "aa" * 32 in rows
        assert rows.read([]).shape == (0, 2)
    with (tmp_path / "index.sha256").open("a") as index:
        fcntl.flock(index, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_all_broken_images_are_listed_and_the_others_are_kept(tmp_path: Path) -> None:
    folder = drawn.colours(tmp_path / "colours", train=30, test=1)
    broken = [folder / "train/blue/000.png", folder / "train/red/999.png"]
    for path in broken:
        path.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "train/grey/readme.txt").write_text("no image")
    images = datasets.load(Data(path="colours"), folder).train
    engine = MeanColour()
    for seen in (4 * 30 - 1, 4 * 30 - 1):
        with pytest.raises(DatasetError, match=r"^3 files are no images that can be read\. Remove") as refused:
            extract(images, engine, tmp_path / "cache")
        assert all(str(path) in str(refused.value) for path in broken)
        assert "readme.txt: This is not an image" in str(refused.value)
        assert engine.seen == seen


def test_of_very_many_broken_images_the_first_are_listed(tmp_path: Path) -> None:
    paths = {number: tmp_path / f"{number}" for number in range(30)}
    with pytest.raises(DatasetError, match=r"^30 files") as refused:
        list(prepared_batches(paths, SPEC))
    assert len(str(refused.value).splitlines()) == 21
    assert "No such file" in str(refused.value)


def test_images_are_decoded_only_a_little_ahead(images: Split) -> None:
    opened = 0

    class Noted(type(images.paths[0])):  # type: ignore[misc]
        def read_bytes(self) -> bytes:
            nonlocal opened
            opened += 1
            return bytes(super().read_bytes())

    def paths() -> Iterator[tuple[int, Path]]:
        for number in range(10 * AHEAD):
            yield number, Noted(images.paths[number % len(images)])

    seen = 0
    for keys, pixels in prepared_batches(dict(paths()), SPEC):
        seen += len(keys)
        assert pixels.shape == (len(keys), drawn.SIZE, drawn.SIZE, 3)
        assert opened <= seen + 2 * AHEAD
    assert seen == opened == 10 * AHEAD


@pytest.mark.parametrize("mirror", [False, True])
def test_a_row_of_the_server_is_a_row_of_the_cache(images: Split, tmp_path: Path, mirror: bool) -> None:
    """The server hands rows to the engine in batches of its own; what it reads is what heads were fitted on."""
    extractor, spec = drawn.extractor(), SPEC.model_copy(update={"mirror": mirror})
    found = features.extract(images, extractor, "pooled", spec, tmp_path)
    features.extract(images, extractor, "pooled", SPEC.model_copy(update={"mirror": not mirror}), tmp_path)
    reader = Embedding(extractor, spec)
    rows = [BatchItem(prepare(path.read_bytes(), [spec])[spec], (reader,)) for path in images.paths[:5]]
    answers = classify(extractor.engine, rows)
    np.testing.assert_allclose(np.stack([answer for (answer,) in answers]), found[:5], rtol=1e-6)
