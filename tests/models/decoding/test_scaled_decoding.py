"""Scaled decoding: a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, faster and with nearly equal pixels.

Small differences do not matter to a softmax, but they do to boosted trees, so each classifier's spec enables it or not.
The slow tests verify that every shipped classifier predicts the same with and without it.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.arrays import Floats, Pixels
from models.artifacts import catalog
from models.artifacts.store import Store
from models.classifier import BatchItem, Classifier, classify
from models.cpu import available_cores
from models.preprocess import PreprocessSpec, decode_array, prepare, preprocess
from tests.support.images import encode, shared

MARGIN = 8
PHOTO_COUNT = 1000
MAX_PROBABILITY_DIFFERENCE = 0.02


def camera_jpeg(height: int, width: int, seed: int, quality: int = 92, orientation: int = 1) -> bytes:
    """Return a JPEG of soft shapes with fine noise, like a camera image."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (max(2, height // 60), max(2, width // 60), 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float32)
    noisy = np.clip(soft + random.standard_normal(soft.shape, np.float32) * 6, 0, 255).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(noisy, "JPEG", quality=quality, exif=exif)


MULTIPLES_OF_8 = st.integers(25, 175).map(lambda number: 8 * number)


@settings(max_examples=25, deadline=None)
@given(
    height=MULTIPLES_OF_8 | st.integers(200, 1400), width=MULTIPLES_OF_8 | st.integers(200, 1400),
    seed=st.integers(0, 9),
    source=st.sampled_from([16, 32, 64]), orientation=st.just(1) | st.integers(1, 8), quality=st.integers(60, 95),
    crop=st.sampled_from(["center", "none"]),
)  # fmt: skip
def test_scaled_decoding_changes_pixels_very_little(
    height: int, width: int, seed: int, source: int, orientation: int, quality: int, crop: str
) -> None:
    data = camera_jpeg(height, width, seed, quality, orientation)
    spec = PreprocessSpec.model_validate({"size": 96, "source": source, "crop": crop, "decode_margin": MARGIN})
    full, scaled = decode_array(data), decode_array(data, min_side=spec.resize_spec.min_decoded_side)
    min_side = min(source * MARGIN, *full.shape[:2])
    assert min(scaled.shape[:2]) >= min_side, "decoded smaller than required"
    assert (full.shape[0] > full.shape[1]) == (scaled.shape[0] > scaled.shape[1]) or height == width
    if height % 8 or width % 8:  # the last blocks extend beyond the edge
        if orientation != 1:
            return
        full = extend_to_blocks(full, scaled)
    difference = np.abs(preprocess(full, spec).astype(int) - preprocess(scaled, spec))
    assert difference.mean() < 0.4
    assert difference.max() <= 3


def extend_to_blocks(full: Pixels, scaled: Pixels) -> Pixels:
    """Repeat the last row and column up to the extent of the scaled image, as a JPEG encoder does."""
    times = round(full.shape[1] / scaled.shape[1])
    right, bottom = scaled.shape[1] * times - full.shape[1], scaled.shape[0] * times - full.shape[0]
    assert 0 <= right < times
    assert 0 <= bottom < times
    return np.pad(full, ((0, bottom), (0, right), (0, 0)), mode="edge")


def test_large_photo_is_decoded_at_an_eighth() -> None:
    data = camera_jpeg(1000, 1600, seed=0)
    assert decode_array(data).shape == (1000, 1600, 3)
    assert decode_array(data, min_side=125).shape == (125, 200, 3)
    assert decode_array(data, min_side=126).shape == (250, 400, 3), "an eighth would be too small"
    assert decode_array(data, min_side=501).shape == (1000, 1600, 3)


def test_other_formats_are_decoded_at_full_size() -> None:
    assert decode_array(encode(np.zeros((64, 96, 3), np.uint8), "PNG"), min_side=8).shape == (64, 96, 3)


def test_without_a_margin_a_photo_is_decoded_at_full_size() -> None:
    data, spec = camera_jpeg(900, 700, seed=1), PreprocessSpec(size=96, source=32)
    assert spec.resize_spec.min_decoded_side is None
    assert np.array_equal(prepare(data, [spec])[spec], preprocess(decode_array(data), spec))
    other = spec.model_copy(update={"decode_margin": MARGIN})
    together = prepare(data, [spec, other])
    assert np.array_equal(together[spec], preprocess(decode_array(data), spec)), (
        "the margin of another spec changed the pixels"
    )


def test_default_margin_is_not_serialized() -> None:
    """Manifests and feature caches written before the field existed stay valid."""
    assert "decode_margin" not in PreprocessSpec(size=96).model_dump()
    assert PreprocessSpec(size=96, decode_margin=8).model_dump()["decode_margin"] == 8


# --- shipped classifiers on photos


def photos() -> Iterator[Image.Image]:
    with tarfile.open(shared("cats-vs-dogs.tar")) as archive:
        for member in archive:
            if member.name.endswith(".jpg") and (file := archive.extractfile(member)):
                yield Image.open(io.BytesIO(file.read())).convert("RGB")


def enlarged(original: Image.Image, times: int, seed: int) -> bytes:
    """Enlarge a photo; fine noise adds the high frequencies of a real camera image."""
    large = original.resize((original.width * times, original.height * times), Image.Resampling.LANCZOS)
    random = np.random.default_rng(seed)
    noisy = np.asarray(large) + random.standard_normal((large.height, large.width, 3), np.float32) * 6
    return encode(np.clip(noisy, 0, 255).astype(np.uint8), "JPEG", quality=92)


def shipped_labels() -> list[str]:
    return [artifact.label for artifact in Store().classifiers()]


def probabilities(classifier: Classifier, rows: list[Pixels]) -> Floats:
    results = []
    for start in range(0, len(rows), 50):
        batch = [BatchItem(pixels, (classifier,)) for pixels in rows[start : start + 50]]
        results += [row for (row,) in classify(classifier.extractor.engine, batch)]
    return np.stack(results)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("times", "count"), [(4, PHOTO_COUNT), (8, PHOTO_COUNT // 10)])
@pytest.mark.parametrize("label", shipped_labels())
def test_shipped_classifiers_tolerate_scaled_decoding(label: str, times: int, count: int) -> None:
    classifier = catalog.load(Store(), [label]).classifiers[0]
    spec = classifier.spec

    def prepare_both_ways(numbered: tuple[int, Image.Image]) -> tuple[Pixels, Pixels]:
        data = enlarged(numbered[1], times, seed=numbered[0])
        return prepare(data, [spec])[spec], preprocess(decode_array(data), spec)

    if spec.decode_margin is None:
        count = 10  # only check that photos are decoded at full size
    with ThreadPoolExecutor(available_cores()) as pool:
        served, whole = zip(*pool.map(prepare_both_ways, enumerate(islice(photos(), count))), strict=True)
    assert len(served) == count
    if spec.decode_margin is None:
        assert all(np.array_equal(a, b) for a, b in zip(served, whole, strict=True))
        return
    actual, expected = probabilities(classifier, list(served)), probabilities(classifier, list(whole))
    worst = np.abs(actual - expected).max(axis=1)
    assert worst.max() <= MAX_PROBABILITY_DIFFERENCE, (
        f"a probability moves by {worst.max():.3f}, {(worst > MAX_PROBABILITY_DIFFERENCE).sum()} too far"
    )
    differs = actual.argmax(axis=1) != expected.argmax(axis=1)
    assert not differs.any(), f"{differs.sum()} of {count} top labels change"
