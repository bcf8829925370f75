"""Scaled decoding: a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, faster and with nearly equal pixels."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.offline import scaled_decoding
from models.arrays import Integers, Pixels
from models.artifacts import catalog
from models.artifacts.store import ClassifierArtifact, Store
from models.classifier import BatchItem, Classifier, classify
from models.preprocess import PreprocessSpec, decode_array, default_decode_margin, prepare, preprocess
from tests.support.images import encode, shared

PHOTO_COUNT = 150
SHORT_SIDE = 1024  # a half is 512 px, the least that the default margin allows
MIN_SAME = 0.95
"""Share of photos that keep their most likely class."""


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
    crop=st.sampled_from(["center", "none"]), margin=st.sampled_from([2, 8]),
)  # fmt: skip
def test_scaled_decoding_changes_pixels_very_little(
    height: int, width: int, seed: int, source: int, orientation: int, quality: int, crop: str, margin: int
) -> None:
    data = camera_jpeg(height, width, seed, quality, orientation)
    spec = PreprocessSpec.model_validate({"size": 96, "source": source, "crop": crop, "decode_margin": margin})
    full, scaled = decode_array(data), decode_array(data, min_side=spec.resize_spec.min_decoded_side)
    min_side = min(source * margin, *full.shape[:2])
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
    other = spec.model_copy(update={"decode_margin": 2})
    together = prepare(data, [spec, other])
    assert np.array_equal(together[spec], preprocess(decode_array(data), spec)), (
        "the margin of another spec changed the pixels"
    )


@pytest.mark.parametrize(("source", "margin"), [(8, 64), (32, 16), (64, 8), (96, 6), (224, 3), (256, 2), (1024, 2)])
def test_new_classifiers_keep_512_px_and_twice_the_source(source: int, margin: int) -> None:
    assert default_decode_margin(source) == margin
    min_side = PreprocessSpec(size=32, source=source, decode_margin=margin).resize_spec.min_decoded_side
    assert min_side is not None
    assert min_side >= max(512, 2 * source)


def test_default_margin_is_not_serialized() -> None:
    """Manifests and feature caches written before the field existed stay valid."""
    assert "decode_margin" not in PreprocessSpec(size=96).model_dump()
    assert PreprocessSpec(size=96, decode_margin=8).model_dump()["decode_margin"] == 8


# --- shipped classifiers on photos


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("artifact", Store().classifiers(), ids=lambda artifact: artifact.label)
def test_shipped_classifiers_tolerate_scaled_decoding(artifact: ClassifierArtifact) -> None:
    """Few classes change, whether or not the classifier has a margin; `benchmarks scaled` measures the accuracy."""
    classifier = catalog.load(Store(), [artifact.label]).classifiers[0]
    margins = (None, default_decode_margin(classifier.spec.source_side))
    specs = [classifier.spec.model_copy(update={"decode_margin": margin}) for margin in margins]
    random = np.random.default_rng(0)
    whole, scaled = zip(
        *(prepare_both_ways(photo, specs, random) for photo in islice(photos(), PHOTO_COUNT)), strict=True
    )
    assert not np.array_equal(whole, scaled)
    expected, actual = most_likely(classifier, whole), most_likely(classifier, scaled)
    assert (expected == actual).mean() >= MIN_SAME


def prepare_both_ways(
    photo: Image.Image, specs: Sequence[PreprocessSpec], random: np.random.Generator
) -> tuple[Pixels, ...]:
    data = scaled_decoding.camera_jpeg(photo, SHORT_SIDE, random)
    results = prepare(data, specs)
    return tuple(results[spec] for spec in specs)


def photos() -> Iterator[Image.Image]:
    with tarfile.open(shared("cats-vs-dogs.tar")) as archive:
        for member in archive:
            if member.name.endswith(".jpg") and (file := archive.extractfile(member)):
                yield Image.open(io.BytesIO(file.read())).convert("RGB")


def most_likely(classifier: Classifier, rows: Sequence[Pixels]) -> Integers:
    batch = [BatchItem(pixels, (classifier,)) for pixels in rows]
    return np.array([row.argmax() for (row,) in classify(classifier.extractor.engine, batch)])
