"""Features are those of the serving path, each is computed once, and the cache survives a kill."""

from __future__ import annotations

import fcntl
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.arrays import Floats, Pixels
from models.classifier import BatchItem, Embedding, classify
from models.engines.base import Outputs
from models.offline.loader import BATCH_SIZE as AHEAD
from models.preprocess import PreprocessSpec, prepare
from tests.support import colour_dataset
from tests.support.colour_engine import ColourEngine
from tests.support.paths import ROOT
from tests.support.polling import wait_until
from training.data.dataset import load_dataset
from training.data.loader import prepared_batches
from training.data.split import Split
from training.errors import DatasetError
from training.heads import features
from training.heads.feature_cache import FeatureCache
from training.heads.features import BATCH_SIZE
from training.recipes.data import DatasetSpec

SPEC = PreprocessSpec(size=colour_dataset.SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_dataset.write(tmp_path_factory.mktemp("data") / "colours", train=50, test=5)


@pytest.fixture(scope="module")
def images(folder: Path) -> Split:
    return load_dataset(DatasetSpec(path="colours"), folder).train


def extract(images: Split, engine: ColourEngine, cache: Path, spec: PreprocessSpec = SPEC, **named: str) -> Floats:
    extractor = colour_dataset.extractor(engine, named.get("weights", "0" * 64))
    return features.extract_features(images, extractor, named.get("output", "pooled"), spec, cache)


def rows_in(cache: Path) -> list[int]:
    """Bytes of the rows of each cache."""
    return sorted(path.stat().st_size for path in cache.rglob("rows.float32"))


def test_features_are_those_of_the_serving_path_in_order(images: Split, tmp_path: Path) -> None:
    rows = extract(images, ColourEngine(), tmp_path)
    assert rows.dtype == np.float32
    pixels = np.stack([prepare(path.read_bytes(), [SPEC])[SPEC] for path in images.images])
    assert np.array_equal(rows, ColourEngine().run(pixels)["pooled"])
    reverse = np.arange(len(images))[::-1].astype(np.int64)
    assert np.array_equal(extract(images.take(reverse), ColourEngine(), tmp_path), rows[::-1])


def test_no_image_is_computed_twice(images: Split, tmp_path: Path) -> None:
    engine = ColourEngine()
    advanced: list[int] = []
    half = images.take(np.arange(0, len(images), 2))
    extract(half, engine, tmp_path)
    assert engine.image_count == len(half)
    features.extract_features(images, colour_dataset.extractor(engine), "pooled", SPEC, tmp_path, advanced.append)
    assert engine.image_count == len(images)
    assert advanced[0] == len(half), "cached images are done at once"
    assert sum(advanced) == len(images)
    extract(images, engine, tmp_path)
    assert engine.image_count == len(images)
    assert max(engine.batch_sizes) <= BATCH_SIZE


def test_equal_files_are_computed_once(images: Split, tmp_path: Path) -> None:
    (tmp_path / "again.png").write_bytes(images.images[0].read_bytes())
    twice = Split(
        (tmp_path / "again.png", *images.images[:2]), images.labels[:3], images.digests[:1] + images.digests[:2]
    )
    engine = ColourEngine()
    rows = extract(twice, engine, tmp_path)
    assert engine.image_count == 2
    assert np.array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[2])


def test_changed_file_is_computed_again(tmp_path: Path) -> None:
    folder = colour_dataset.write(tmp_path / "colours", train=2, test=1)
    before = load_dataset(DatasetSpec(path="colours"), folder).train
    extract(before, ColourEngine(), tmp_path / "cache")
    shutil.copyfile(folder / "test/red/000.png", folder / "train/blue/000.png")
    after = load_dataset(DatasetSpec(path="colours"), folder).train
    engine = ColourEngine()
    rows = extract(after, engine, tmp_path / "cache")
    assert after.images == before.images
    assert engine.image_count == 1
    assert np.array_equal(rows, extract(after, ColourEngine(), tmp_path / "elsewhere"))


def test_cache_can_be_filled_without_reading_it(images: Split, tmp_path: Path) -> None:
    engine = ColourEngine()
    features.fill_cache(images, colour_dataset.extractor(engine), "pooled", SPEC, tmp_path)
    assert engine.image_count == len(images)
    assert np.array_equal(extract(images, engine, tmp_path), extract(images, ColourEngine(), tmp_path / "elsewhere"))
    assert engine.image_count == len(images)


@pytest.mark.parametrize(
    "change",
    [
        {"source": 16},
        {"crop": "none"},
        {"shrink": "box"},
        {"enlarge": "box"},
        {"decode_margin": 2},
        {"mirror": True},
    ],
    ids=str,
)
def test_specs_that_differ_in_one_field_share_no_features(
    images: Split, tmp_path: Path, change: dict[str, Any]
) -> None:
    few, spec = images.take(np.arange(3)), SPEC.model_copy(update=change)
    engine = ColourEngine()
    extract(few, engine, tmp_path)
    rows = extract(few, engine, tmp_path, spec)
    assert engine.image_count == (3 + 6 if spec.mirror else 3 + 3)
    assert len(rows_in(tmp_path)) == 2
    assert np.array_equal(rows, extract(few, ColourEngine(), tmp_path / "elsewhere", spec))


def test_each_extractor_output_and_engine_has_its_own_cache(images: Split, tmp_path: Path) -> None:
    few = images.take(np.arange(3))
    engine = ColourEngine()
    extract(few, engine, tmp_path)
    extract(few, engine, tmp_path, weights="1" * 64)
    extract(few, engine, tmp_path, output="colour")
    bfloat16 = ColourEngine("fixture:bfloat16")
    extract(few, bfloat16, tmp_path)
    assert (engine.image_count, bfloat16.image_count) == (3 * 3, 3)
    assert len(rows_in(tmp_path)) == 4


@pytest.mark.parametrize(
    ("file", "cut"),
    [("rows.float32", 17), ("rows.float32", 4 * 12 * 10), ("index.sha256", 5), ("index.sha256", 32 * 10)],
)
def test_incomplete_rows_are_cut_off_and_computed_again(images: Split, tmp_path: Path, file: str, cut: int) -> None:
    expected = extract(images, ColourEngine(), tmp_path)
    (path,) = tmp_path.rglob(file)
    with path.open("r+b") as content:
        content.truncate(path.stat().st_size - cut)
    engine = ColourEngine()
    assert np.array_equal(extract(images, engine, tmp_path), expected)
    assert engine.image_count == (1 if cut < 32 else 10)
    assert rows_in(tmp_path) == [expected.nbytes]


KILLED = """
import sys
from pathlib import Path
from models.preprocess import PreprocessSpec
from tests.support import colour_dataset
from tests.support.killed import kill_at
from training.data.dataset import load_dataset
from training.heads import features
from training.recipes.data import DatasetSpec
images = load_dataset(DatasetSpec(path="colours"), Path(sys.argv[1])).train
features.available_cores = lambda: 1  # with many threads, all images would be read at once
kill_at("open", ".png", 160)
extractor, spec = colour_dataset.extractor(), PreprocessSpec(size=colour_dataset.SIZE)
features.extract_features(images, extractor, "pooled", spec, Path(sys.argv[2]))
"""


def test_killed_extraction_resumes(folder: Path, images: Split, tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, folder, tmp_path], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    (path,) = tmp_path.rglob("rows.float32")
    (index,) = tmp_path.rglob("index.sha256")
    # The process may be killed between writing rows and their digests; rows without digests do not count.
    done = min(path.stat().st_size // (4 * 12), index.stat().st_size // 32)
    assert 0 < done < len(images)
    before = path.read_bytes()[: done * 4 * 12]
    engine = ColourEngine()
    rows = extract(images, engine, tmp_path)
    assert engine.image_count == len(images) - done
    assert path.read_bytes().startswith(before)
    assert np.array_equal(rows, extract(images, ColourEngine(), tmp_path / "elsewhere"))


def test_concurrent_batches_are_limited_by_the_engine(images: Split, tmp_path: Path) -> None:
    """The first runs take until as many run as may, and one more batch is decoded, which then has to wait."""
    running, max_running, finished, opened = 0, 0, 0, 0
    lock = threading.Lock()

    class Noted(type(images.images[0])):  # type: ignore[misc]
        def read_bytes(self) -> bytes:
            nonlocal opened
            with lock:
                opened += 1
            return bytes(super().read_bytes())

    class Watched(ColourEngine):
        def run(self, batch: Pixels) -> Outputs:
            nonlocal running, max_running, finished
            with lock:
                running += 1
                max_running = max(max_running, running)
                is_first = not finished
            decoded = BATCH_SIZE * (self.max_concurrent_runs + 1)
            if is_first:
                wait_until(lambda: max_running == self.max_concurrent_runs and opened >= min(len(many), decoded))
            rows = super().run(batch)
            with lock:
                running -= 1
                finished += 1
            return rows

    paths, digests = tuple(map(Noted, images.images)), tuple(f"{number:064x}" for number in range(len(images)))
    many = Split(paths, images.labels, digests)
    for limit in (1, 2):
        running = max_running = finished = opened = 0
        extract(many, Watched(max_concurrent_runs=limit), tmp_path / str(limit))
        assert (max_running, opened) == (limit, len(many))


def test_failing_engine_ends_the_extraction_and_keeps_finished_rows(images: Split, tmp_path: Path) -> None:
    class Failing(ColourEngine):
        def run(self, batch: Pixels) -> Outputs:
            if self.image_count >= 2 * BATCH_SIZE:
                raise RuntimeError("out of memory")
            return super().run(batch)

    threads = threading.active_count()
    with pytest.raises(RuntimeError, match="out of memory"):
        extract(images, Failing(), tmp_path)
    assert threading.active_count() == threads
    again = ColourEngine()
    extract(images, again, tmp_path)
    assert again.image_count <= len(images)


def test_second_run_on_a_cache_waits_for_the_first(images: Split, tmp_path: Path) -> None:
    """Two writers at once would append rows and digests in different orders."""
    expected = extract(images, ColourEngine(), tmp_path / "alone")
    engines = [ColourEngine(), ColourEngine()]
    rows: list[Floats] = []
    runs = [
        threading.Thread(target=lambda engine=engine: rows.append(extract(images, engine, tmp_path / "both")))
        for engine in engines
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert sorted(engine.image_count for engine in engines) == [0, len(images)]
    assert all(np.array_equal(each, expected) for each in rows)


def test_closed_cache_releases_its_lock(tmp_path: Path) -> None:
    with FeatureCache(tmp_path, 2) as rows:
        rows.append(["aa" * 32], np.ones((1, 2), np.float32))
        assert "aa" * 32 in rows
        assert rows.read([]).shape == (0, 2)
    with (tmp_path / "index.sha256").open("a") as index:
        fcntl.flock(index, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_broken_images_are_listed_and_the_others_are_cached(tmp_path: Path) -> None:
    folder = colour_dataset.write(tmp_path / "colours", train=30, test=1)
    broken = [folder / "train/blue/000.png", folder / "train/red/999.png"]
    for path in broken:
        path.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "train/grey/readme.txt").write_text("no image")
    images = load_dataset(DatasetSpec(path="colours"), folder).train
    engine = ColourEngine()
    for seen in (4 * 30 - 1, 4 * 30 - 1):
        with pytest.raises(DatasetError, match=r"^3 files are not readable images\. Remove") as raised:
            extract(images, engine, tmp_path / "cache")
        assert all(str(path) in str(raised.value) for path in broken)
        assert "readme.txt: This is not an image" in str(raised.value)
        assert engine.image_count == seen


def test_only_the_first_of_many_broken_images_are_listed(tmp_path: Path) -> None:
    paths = {number: tmp_path / f"{number}" for number in range(30)}
    with pytest.raises(DatasetError, match=r"^30 files") as raised:
        list(prepared_batches(paths, SPEC))
    assert len(str(raised.value).splitlines()) == 21
    assert "No such file" in str(raised.value)


def test_images_are_decoded_only_a_few_batches_ahead(images: Split) -> None:
    opened = 0

    class Noted(type(images.images[0])):  # type: ignore[misc]
        def read_bytes(self) -> bytes:
            nonlocal opened
            opened += 1
            return bytes(super().read_bytes())

    def paths() -> Iterator[tuple[int, Path]]:
        for number in range(10 * AHEAD):
            yield number, Noted(images.images[number % len(images)])

    seen = 0
    for keys, pixels in prepared_batches(dict(paths()), SPEC):
        seen += len(keys)
        assert pixels.shape == (len(keys), colour_dataset.SIZE, colour_dataset.SIZE, 3)
        assert opened <= seen + 2 * AHEAD
    assert seen == opened == 10 * AHEAD


@pytest.mark.parametrize("mirror", [False, True])
def test_cached_rows_are_those_that_the_server_computes(images: Split, tmp_path: Path, mirror: bool) -> None:
    """The server forms other batches, but heads have to get the features that they were fitted on."""
    extractor, spec = colour_dataset.extractor(), SPEC.model_copy(update={"mirror": mirror})
    cached = features.extract_features(images, extractor, "pooled", spec, tmp_path)
    features.extract_features(images, extractor, "pooled", SPEC.model_copy(update={"mirror": not mirror}), tmp_path)
    consumer = Embedding(extractor, spec)
    items = [BatchItem(prepare(path.read_bytes(), [spec])[spec], (consumer,)) for path in images.images[:5]]
    served = classify(extractor.engine, items)
    np.testing.assert_allclose(np.stack([row for (row,) in served]), cached[:5], rtol=1e-6)
