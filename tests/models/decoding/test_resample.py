"""Resampling with either library: equal pixels but for rounding, and bounded memory for extreme shapes."""

from __future__ import annotations

import importlib.metadata
import threading
from pathlib import Path
from typing import get_args

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.arrays import Pixels
from models.artifacts import catalog
from models.artifacts.store import ClassifierArtifact, Store
from models.classifier import BatchItem, classify
from models.decoding import resample
from models.decoding.errors import UndecodableImage
from models.decoding.image import decode
from models.decoding.resample import Box, Filter, Size
from models.preprocess import PreprocessSpec, prepare
from tests.support.decode_worker import running_worker
from tests.support.images import encode, noise
from tests.support.paths import ROOT
from tests.support.resizers import PILLOW, RESIZERS, block_rust, needs_rust, resize_with

EXAMPLES = ROOT / "app" / "page" / "static" / "examples"
SIDES = st.integers(1, 12) | st.integers(1, 300)
FILTERS = st.sampled_from(get_args(Filter))
MAX_DIFFERENCE = 2
"""One level for each pass; two are rare."""


def resampled(library: str, image: Image.Image, size: Size, name: Filter, box: Box | None = None) -> Pixels:
    with resize_with(library):
        return np.asarray(resample.resample(image, size, name, box)).astype(np.int16)


@st.composite
def boxes(draw: st.DrawFn, width: int, height: int) -> Box:
    """Draw a part of an image of at least a hundredth of a pixel, whose edges may be those of the image."""
    edges = []
    for side in (width, height):
        begin = draw(st.just(0.0) | st.floats(0, side - 0.5))
        edges.append((begin, draw(st.just(float(side)) | st.floats(begin + 0.01, side))))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


@needs_rust
@settings(max_examples=300, deadline=None)
@given(st.data(), SIDES, SIDES, SIDES, SIDES, FILTERS, st.booleans())
def test_both_libraries_resize_any_part_alike(
    data: st.DataObject, width: int, height: int, to_width: int, to_height: int, name: Filter, extreme: bool
) -> None:
    pixels = noise(height, width, seed=width)
    image = Image.fromarray((pixels > 127).astype(np.uint8) * 255 if extreme else pixels)
    box, size = data.draw(boxes(width, height)), (to_width, to_height)
    rust, pillow = (resampled(library, image, size, name, box) for library in RESIZERS)
    assert rust.shape == (to_height, to_width, 3)
    assert np.abs(rust - pillow).max() <= MAX_DIFFERENCE


@needs_rust
@settings(max_examples=300, deadline=None)
@given(st.data(), SIDES, SIDES, SIDES, FILTERS, st.booleans())
def test_both_libraries_differ_by_one_level_along_one_axis(
    data: st.DataObject, width: int, height: int, to: int, name: Filter, vertical: bool
) -> None:
    image = Image.fromarray(noise(height, width, seed=height))
    left, top, right, bottom = data.draw(boxes(width, height))
    box = (0.0, top, float(width), bottom) if vertical else (left, 0.0, right, float(height))
    size = (width, to) if vertical else (to, height)
    rust, pillow = (resampled(library, image, size, name, box) for library in RESIZERS)
    assert np.abs(rust - pillow).max() <= 1


@needs_rust
@pytest.mark.parametrize("name", get_args(Filter))
def test_both_libraries_resize_a_photo_alike(name: Filter) -> None:
    photo = Image.fromarray(noise(9, 12)).resize((1600, 1200), Image.Resampling.BICUBIC)
    for side in (32, 96, 224, 1024, 2000):
        rust, pillow = (
            resampled(library, photo, (side, side), name, (200.5, 0, 1399.75, 1200)) for library in RESIZERS
        )
        difference = np.abs(rust - pillow)
        assert difference.max() <= MAX_DIFFERENCE
        assert (difference > 0).mean() < 0.02
        assert (difference > 1).mean() < 1e-4


@needs_rust
def test_large_image_in_several_blocks_of_memory_is_resized_alike() -> None:
    """Pillow stores an image of more than 16 MB in several blocks."""
    image = Image.fromarray(noise(3000, 4000))
    rust, pillow = (resampled(library, image, (96, 96), "bicubic", (500.5, 0, 3500.5, 3000)) for library in RESIZERS)
    assert np.abs(rust - pillow).max() <= 1


@pytest.mark.parametrize("library", RESIZERS)
def test_one_call_of_pillow_gives_the_same_where_no_filter_overshoots(library: str) -> None:
    image = Image.fromarray(noise(333, 500))
    for name in ("box", "bilinear", "hamming"):
        expected = np.asarray(image.resize((96, 80), Image.Resampling[name.upper()], (0.25, 3, 480, 330.5)))
        assert np.abs(resampled(library, image, (96, 80), name, (0.25, 3, 480, 330.5)) - expected).max() <= 1


@pytest.mark.parametrize("library", RESIZERS)
@pytest.mark.parametrize("name", get_args(Filter))
@pytest.mark.parametrize("size", [(1, 1), (1, 30_000), (30_000, 1), (3, 4999), (8000, 2)], ids=str)
def test_image_of_one_colour_keeps_it_in_extreme_shapes(library: str, name: Filter, size: Size) -> None:
    image = Image.new("RGB", size, (0, 77, 255))
    for target in ((1, 1), (32, 32), (1024, 1024)):
        assert (resampled(library, image, target, name) == (0, 77, 255)).all()


@pytest.mark.parametrize("library", RESIZERS)
@pytest.mark.parametrize("size", [(1, 30_000), (30_000, 1), (10, 20_000), (4000, 3000)], ids=str)
def test_intermediate_image_is_small(monkeypatch: pytest.MonkeyPatch, library: str, size: Size) -> None:
    """An image of 1 x 30,000 px must not become one of 1024 x 30,000 px on its way to 1024 x 1024."""
    results: list[Size] = []
    one_pass = resample._pass

    def record(*arguments: object) -> Image.Image:
        result = one_pass(*arguments)  # type: ignore[arg-type]
        results.append(result.size)
        return result

    monkeypatch.setattr(resample, "_pass", record)
    with resize_with(library):
        resample.resample(Image.new("RGB", size), (1024, 1024), "lanczos")
    intermediate, final = results
    assert final == (1024, 1024)
    assert intermediate[0] * intermediate[1] <= 1024 * min(size)


def test_image_of_the_same_size_is_returned_itself() -> None:
    image = Image.fromarray(noise(20, 30))
    assert resample.resample(image, (30, 20), "bicubic") is image
    assert resample.resample(image, (30, 20), "bicubic", (0.0, 0.0, 30.0, 20.0)) is image
    assert resample.resample(image, (30, 20), "bicubic", (0.5, 0.0, 30.0, 20.0)) is not image


@needs_rust
def test_each_thread_has_its_own_resizer() -> None:
    seen: list[object] = [resample._resizer(), resample._resizer()]
    thread = threading.Thread(target=lambda: seen.append(resample._resizer()))
    thread.start()
    thread.join()
    assert seen[0] is seen[1] is not seen[2]


@pytest.mark.parametrize("library", RESIZERS)
@pytest.mark.parametrize(
    ("size", "expected"),
    [((300, 200), (100, 67)), ((200, 300), (67, 100)), ((5000, 3), (100, 1)), ((60, 99), (60, 99))],
)
def test_thumbnail_keeps_the_ratio_of_the_sides(library: str, size: Size, expected: Size) -> None:
    with resize_with(library):
        assert resample.fit_within(Image.new("RGB", size), 100).size == expected


# --- the library in use


def test_name_of_the_resizer_has_its_version() -> None:
    with resize_with(PILLOW):
        assert resample.resizer_name() == f"Pillow {PIL.__version__}"


@needs_rust
def test_name_of_the_rust_resizer_has_its_version() -> None:
    assert resample.resizer_name() == f"cykooz-resizer {importlib.metadata.version('cykooz-resizer')}"


def test_decode_worker_without_the_rust_library_uses_pillow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that cannot import the package sends the pixels of Pillow, and still rejects damaged images."""
    spec = PreprocessSpec(size=224, shrink="bilinear")
    images = [encode(noise(375, 500), "JPEG"), encode(noise(130, 90), "PNG"), encode(noise(3, 2000), "WebP")]
    block_rust(tmp_path, monkeypatch)
    with running_worker() as worker:
        for data in images:
            actual = worker.prepare(data, [spec])[spec]
            with resize_with(PILLOW):
                assert np.array_equal(actual, prepare(data, [spec])[spec])
            assert np.abs(actual.astype(int) - prepare(data, [spec])[spec]).max() <= MAX_DIFFERENCE
        with pytest.raises(UndecodableImage):
            worker.prepare(images[0][:300], [spec])
        assert worker.thumbnail(images[0], 40)[:3] == b"\xff\xd8\xff"


@needs_rust
@pytest.mark.parametrize("artifact", Store().classifiers(), ids=lambda artifact: artifact.label)
def test_shipped_classifier_predicts_the_same_with_either_library(artifact: ClassifierArtifact) -> None:
    classifier = catalog.load(Store(), [artifact.label]).classifiers[0]
    photos = [
        encode(Image.open(file).convert("RGB").resize((601 + 37 * number, 433 + 5 * number)), "JPEG")
        for number, file in enumerate(sorted(EXAMPLES.glob("*.jpg")))
    ]
    rows = {}
    for library in RESIZERS:
        with resize_with(library):
            batch = [BatchItem(prepare(photo, [classifier.spec])[classifier.spec], (classifier,)) for photo in photos]
        rows[library] = np.stack([probabilities for (probabilities,) in classify(classifier.extractor.engine, batch)])
    rust, pillow = rows.values()
    assert np.abs(rust - pillow).max() < 0.05
    assert (rust.argmax(axis=1) == pillow.argmax(axis=1)).all()


@pytest.mark.parametrize("library", RESIZERS)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_image_of_each_mode_is_resized(library: str, mode: str) -> None:
    kind = "TIFF" if mode in ("CMYK", "I;16") else "PNG"
    image = Image.new(mode, (40, 30)) if mode == "I;16" else Image.fromarray(noise(30, 40)).convert(mode)
    spec = PreprocessSpec(size=32)
    with resize_with(library):
        pixels = prepare(encode(image, kind), [spec])[spec]
        decoded = decode(encode(image, kind))
    assert decoded.mode == "RGB"
    expected = decoded.resize((32, 32), Image.Resampling.BICUBIC, (5, 0, 35, 30))
    assert np.abs(pixels.astype(int) - np.asarray(expected)).max() <= 40, "only the order of the passes differs"
