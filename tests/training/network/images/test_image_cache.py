"""Cache of decoded images: the pixels that serving uses, decoded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.preprocess import PreprocessSpec, prepare, to_input
from tests.support import tiny_fit
from tests.support.images import encode, noise
from training.data.split import Split
from training.errors import DatasetError
from training.network.images.image_cache import load_decoded_images

_SPEC = PreprocessSpec(size=96, source=16)


@pytest.fixture
def split(tmp_path: Path) -> Split:
    tiny_fit.write(tmp_path, per_class=4)
    return tiny_fit.load(tmp_path)[0].dataset.train


def test_network_is_fitted_on_the_pixels_that_it_is_served(split: Split, tmp_path: Path) -> None:
    source = load_decoded_images(split, _SPEC, tmp_path / "cache")
    assert source.shape == (12, 16, 16, 3)
    assert source.dtype == np.uint8
    for path, pixels in zip(split.images, source, strict=True):
        served = prepare(path.read_bytes(), [_SPEC])[_SPEC]
        np.testing.assert_array_equal(to_input(pixels, _SPEC), served)


def test_images_are_decoded_once_for_all_input_sizes(split: Split, tmp_path: Path) -> None:
    first = load_decoded_images(split, _SPEC, tmp_path / "cache")
    for path in split.images:
        Path(*path.parts).unlink()
    np.testing.assert_array_equal(
        load_decoded_images(split, _SPEC.model_copy(update={"size": 75}), tmp_path / "cache"), first
    )


def test_other_order_or_source_size_is_another_file(split: Split, tmp_path: Path) -> None:
    first = load_decoded_images(split, _SPEC, tmp_path / "cache")
    backwards = load_decoded_images(split.take(np.arange(len(split))[::-1]), _SPEC, tmp_path / "cache")
    np.testing.assert_array_equal(backwards, first[::-1])
    assert load_decoded_images(split, PreprocessSpec(size=96, source=24), tmp_path / "cache").shape == (12, 24, 24, 3)


def test_scaled_decoding_is_another_file(split: Split, tmp_path: Path) -> None:
    """Otherwise a network would be fitted on other pixels than it is served."""
    pixels = [noise(320, 400, seed=number) for number in range(len(split))]
    for path, image in zip(split.images, pixels, strict=True):
        Path(*path.parts).write_bytes(encode(image, "JPEG"))
    margin = _SPEC.model_copy(update={"decode_margin": 2})
    whole, scaled = (load_decoded_images(split, spec, tmp_path / "cache") for spec in (_SPEC, margin))
    assert not np.array_equal(whole, scaled)
    for path, image in zip(split.images, scaled, strict=True):
        np.testing.assert_array_equal(to_input(image, margin), prepare(path.read_bytes(), [margin])[margin])


def test_broken_images_are_listed_and_leave_no_cache_file(split: Split, tmp_path: Path) -> None:
    Path(*split.images[5].parts).write_bytes(b"no image")
    with pytest.raises(DatasetError, match=split.images[5].name):
        load_decoded_images(split, _SPEC, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.npy"))
