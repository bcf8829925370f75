from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.offline.scaled_decoding import camera_jpeg, paired_difference
from models.artifacts.store import Store
from tests.support.images import encode, noise


def test_both_ways_are_measured_on_the_photos_of_normal_shape(network_store: Store, tmp_path: Path) -> None:
    """Six photos of two folders, which belong to one class, and one that is too narrow."""
    for folder, count in (("scarlet", 4), ("crimson", 2)):
        (tmp_path / "test" / folder).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "test" / folder / f"{number}.png").write_bytes(encode(noise(20, 30, number), "PNG"))
    (tmp_path / "test" / "crimson" / "narrow.png").write_bytes(encode(noise(10, 90), "PNG"))
    json_file = tmp_path / "report.json"
    options = [
        "--rename",
        "scarlet=red",
        "--rename",
        "crimson=red",
        "--short-side",
        "256",
        "--margin",
        "2",
        "--json",
        str(json_file),
    ]
    arguments = ["scaled", str(tmp_path), *options, "--model", "colours", "--store", str(network_store.root)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(json_file.read_text())
    assert report["title"].startswith("6 photos of 256 px")
    values = {figure["name"]: figure["values"][0] for figure in report["figures"]}
    whole, reduced = values["accuracy, decoded whole"], values["accuracy, decoded at a reduced size"]
    assert values["difference"] == pytest.approx(100 * (reduced - whole))
    assert abs(reduced - whole) <= 1 - values["the same class"] + 1e-9
    assert report["facts"]["decode_margin"] == "2"


def test_paired_difference_counts_only_images_that_change() -> None:
    whole = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], float)
    assert paired_difference(whole, whole) == (0, 0, 0)
    scaled = whole.copy()
    scaled[3:6] = 1
    scaled[0] = 0
    difference, low, high = paired_difference(whole, scaled)
    assert difference == pytest.approx(20)
    half = 1.96 * 100 * np.std([1, 1, 1, -1, 0, 0, 0, 0, 0, 0], ddof=1) / 10**0.5
    assert low == pytest.approx(20 - half)
    assert high == pytest.approx(20 + half)


def test_camera_image_is_enlarged_and_has_noise() -> None:
    data = camera_jpeg(Image.new("RGB", (30, 20), "grey"), 200, np.random.default_rng(0))
    image = Image.open(BytesIO(data))
    assert (image.size, image.format) == ((300, 200), "JPEG")
    assert 2 < np.asarray(image.convert("L")).std() < 10
