"""A large JPEG may be decoded at 1/2, 1/4 or 1/8 of its size: faster, and nearly the same pixels.

Nearly is enough for a softmax and not for boosted trees, so each classifier's spec says whether it may be done. The
slow tests hold every shipped classifier to what its spec says.
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

from models.arrays import Pixels, decode_array
from models.artifacts import catalog
from models.artifacts.store import Store
from models.classifier import BatchItem, Classifier, classify
from models.cpu import available_cores
from models.heads import Floats
from models.preprocess import PreprocessSpec, prepare, preprocess
from tests.support.images import encode, shared

MARGIN = 8
PHOTOS = 1000
TOLERANCE = 0.02


def photo(height: int, width: int, seed: int, quality: int = 92, orientation: int = 1) -> bytes:
    """Soft shapes under fine noise, as from a camera."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (max(2, height // 60), max(2, width // 60), 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float32)
    noisy = np.clip(soft + random.standard_normal(soft.shape, np.float32) * 6, 0, 255).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(noisy, "JPEG", quality=quality, exif=exif)


EIGHTS = st.integers(25, 175).map(lambda number: 8 * number)


@settings(max_examples=25, deadline=None)
@given(
    height=EIGHTS | st.integers(200, 1400), width=EIGHTS | st.integers(200, 1400), seed=st.integers(0, 9),
    source=st.sampled_from([16, 32, 64]), orientation=st.just(1) | st.integers(1, 8), quality=st.integers(60, 95),
    crop=st.sampled_from(["center", "none"]),
)  # fmt: skip
def test_the_prepared_picture_hardly_changes(
    height: int, width: int, seed: int, source: int, orientation: int, quality: int, crop: str
) -> None:
    data = photo(height, width, seed, quality, orientation)
    spec = PreprocessSpec.model_validate({"size": 96, "source": source, "crop": crop, "decode_margin": MARGIN})
    full, scaled = decode_array(data), decode_array(data, needed_side=spec.resize_spec.needed_side)
    needed = min(source * MARGIN, *full.shape[:2])
    assert min(scaled.shape[:2]) >= needed, "decoded smaller than was needed"
    assert (full.shape[0] > full.shape[1]) == (scaled.shape[0] > scaled.shape[1]) or height == width
    if height % 8 or width % 8:  # the last column and row reach over the edge, on a side that the orientation turns
        if orientation != 1:
            return
        full = over_the_edge(full, scaled)
    difference = np.abs(preprocess(full, spec).astype(int) - preprocess(scaled, spec))
    assert difference.mean() < 0.4
    assert difference.max() <= 3


def over_the_edge(full: Pixels, scaled: Pixels) -> Pixels:
    """The picture as far as the scaled one reaches, its last row and column repeated as JPEG's encoder does."""
    times = round(full.shape[1] / scaled.shape[1])
    right, below = scaled.shape[1] * times - full.shape[1], scaled.shape[0] * times - full.shape[0]
    assert 0 <= right < times
    assert 0 <= below < times
    return np.pad(full, ((0, below), (0, right), (0, 0)), mode="edge")


def test_a_large_photo_is_decoded_at_an_eighth() -> None:
    data = photo(1000, 1600, seed=0)
    assert decode_array(data).shape == (1000, 1600, 3)
    assert decode_array(data, needed_side=125).shape == (125, 200, 3)
    assert decode_array(data, needed_side=126).shape == (250, 400, 3), "an eighth would have been smaller than needed"
    assert decode_array(data, needed_side=501).shape == (1000, 1600, 3)


def test_what_is_no_jpeg_is_decoded_whole() -> None:
    assert decode_array(encode(np.zeros((64, 96, 3), np.uint8), "PNG"), needed_side=8).shape == (64, 96, 3)


def test_without_a_margin_a_photo_is_decoded_whole() -> None:
    data, spec = photo(900, 700, seed=1), PreprocessSpec(size=96, source=32)
    assert spec.resize_spec.needed_side is None
    assert np.array_equal(prepare(data, [spec])[spec], preprocess(decode_array(data), spec))
    other = spec.model_copy(update={"decode_margin": MARGIN})
    together = prepare(data, [spec, other])
    assert np.array_equal(together[spec], preprocess(decode_array(data), spec)), (
        "another classifier's margin has spoiled it"
    )


def test_a_spec_without_a_margin_is_written_as_before_there_were_margins() -> None:
    """So that manifests and feature caches stay what they are."""
    assert "decode_margin" not in PreprocessSpec(size=96).model_dump()
    assert PreprocessSpec(size=96, decode_margin=8).model_dump()["decode_margin"] == 8


# --- the shipped classifiers, on photographs


def photographs() -> Iterator[Image.Image]:
    with tarfile.open(shared("cats-vs-dogs.tar")) as archive:
        for member in archive:
            if member.name.endswith(".jpg") and (file := archive.extractfile(member)):
                yield Image.open(io.BytesIO(file.read())).convert("RGB")


def enlarged(original: Image.Image, times: int, seed: int) -> bytes:
    """As a large camera would have taken it: fine noise keeps the high frequencies that scaling leaves out."""
    large = original.resize((original.width * times, original.height * times), Image.Resampling.LANCZOS)
    random = np.random.default_rng(seed)
    noisy = np.asarray(large) + random.standard_normal((large.height, large.width, 3), np.float32) * 6
    return encode(np.clip(noisy, 0, 255).astype(np.uint8), "JPEG", quality=92)


def shipped() -> list[str]:
    return [artifact.label for artifact in Store().classifiers()]


def probabilities(classifier: Classifier, rows: list[Pixels]) -> Floats:
    answers = []
    for start in range(0, len(rows), 50):
        batch = [BatchItem(pixels, (classifier,)) for pixels in rows[start : start + 50]]
        answers += [row for (row,) in classify(classifier.extractor.engine, batch)]
    return np.stack(answers)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("times", "count"), [(4, PHOTOS), (8, PHOTOS // 10)])
@pytest.mark.parametrize("label", shipped())
def test_a_shipped_classifier_answers_large_photos_as_if_they_were_decoded_whole(
    label: str, times: int, count: int
) -> None:
    classifier = catalog.load(Store(), [label]).classifiers[0]
    spec = classifier.spec

    def both(numbered: tuple[int, Image.Image]) -> tuple[Pixels, Pixels]:
        data = enlarged(numbered[1], times, seed=numbered[0])
        return prepare(data, [spec])[spec], preprocess(decode_array(data), spec)

    if spec.decode_margin is None:
        count = 10  # nothing is to be measured then, only that photos are decoded whole
    with ThreadPoolExecutor(available_cores()) as pool:
        served, whole = zip(*pool.map(both, enumerate(islice(photographs(), count))), strict=True)
    assert len(served) == count
    if spec.decode_margin is None:
        assert all(np.array_equal(a, b) for a, b in zip(served, whole, strict=True))
        return
    found, expected = probabilities(classifier, list(served)), probabilities(classifier, list(whole))
    worst = np.abs(found - expected).max(axis=1)
    assert worst.max() <= TOLERANCE, f"a probability moves by {worst.max():.3f}, {(worst > TOLERANCE).sum()} too far"
    others = found.argmax(axis=1) != expected.argmax(axis=1)
    assert not others.any(), f"{others.sum()} of {count} top labels change"
