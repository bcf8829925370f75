"""A classifier of real images, from the shipped extractor to a running server."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest

from models.artifacts.catalog import load
from models.artifacts.store import DEFAULT_STORE, Store
from tests.support.paths import ROOT
from tests.support.processes import server
from training.evaluation import evaluate

pytestmark = pytest.mark.timeout(300)

CIFAR10 = ROOT.parent / "shared" / "data" / "cifar10-jpeg.tar.gz"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not CIFAR10.is_file(), reason=f"needs {CIFAR10.relative_to(ROOT.parent)} next to the project")
def test_classifier_of_real_images_is_trained_and_served(tmp_path: Path) -> None:
    """With the shipped extractor, in less than five minutes."""
    shipped = DEFAULT_STORE / "extractors" / "inception_v3_96"
    if not shipped.is_dir():
        pytest.skip("needs the extractor inception_v3_96 in models/store")
    data, store = tmp_path / "cifar10", tmp_path / "store"
    unpack_some(data, train=100, test=30)
    shutil.copytree(shipped, store / "extractors" / shipped.name)
    options = ["--data", str(data), "--store", str(store), "--cache", str(tmp_path / "cache")]
    started_at = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "training", "run", "cifar10", "--name", "mine", "--report", str(tmp_path), *options],
        cwd=ROOT,
        check=True,
    )
    assert time.monotonic() - started_at < 300
    manifest = Store(store).classifier("mine").manifest
    assert manifest.metrics["test"].images == 300
    assert manifest.metrics["test"].accuracy > 0.6
    images = evaluate.load_labelled_split(data, "test", manifest, {})
    (classifier,) = load(Store(store)).classifiers
    with server("app", APP_STORE=str(store), APP_DEFAULT_MODEL="mine") as started:
        address = started.address(120)
        reply = httpx.post(f"{address}/v1/classify", content=images.images[0].read_bytes(), timeout=30).json()
        served = evaluate.predict_by_http(address, manifest, images)
    assert reply["model"] == "mine"
    assert reply["predictions"][0]["label"] in manifest.classes
    assert np.abs(served - evaluate.predict(classifier, images)).max() < 0.2, "trees jump if a feature is near a split"
    assert (served.argmax(axis=1) == images.labels).mean() == pytest.approx(manifest.metrics["test"].accuracy, abs=0.02)


def unpack_some(folder: Path, **counts: int) -> None:
    """Extract a number of images of each class and split."""
    taken: Counter[str] = Counter()
    with tarfile.open(CIFAR10) as archive:
        for member in archive:
            kept = Path(member.name)
            if member.isfile() and taken[str(kept.parent)] < counts[kept.parts[0]]:
                taken[str(kept.parent)] += 1
                archive.extract(member, folder, filter="data")
