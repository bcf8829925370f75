"""Preprocessing: both steps, its spec as data, and equal pixels in training and serving."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.arrays import Pixels
from models.decoding import resize as resize_module
from models.decoding.errors import EmptyImage, ImageTooLarge
from models.decoding.image import decode
from models.decoding.limits import Limits
from models.decoding.resample import Filter
from models.decoding.resize import prepare as prepare_images
from models.decoding.resize import resize
from models.offline.loader import load_batches
from models.preprocess import (
    PreprocessSpec,
    decode_array,
    prepare,
    preprocess,
    resize_all,
    split_buffer,
    to_input,
    to_source,
)
from tests.support.images import blocks, encode, noise
from tests.support.resizers import RESIZERS, resize_with
from training.data.loader import prepared_batches


@pytest.fixture(scope="module", params=RESIZERS, autouse=True)
def library(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run each test with each library that resizes images."""
    with resize_with(request.param):
        yield


SPECS = [
    PreprocessSpec(size=96, source=32),
    PreprocessSpec(size=96),
    PreprocessSpec(size=75, source=40, crop="none", shrink="lanczos", enlarge="bicubic"),
]


def centre(rgb: Pixels) -> Pixels:
    """Return the centre square."""
    height, width = rgb.shape[:2]
    side = min(height, width)
    assert (height - side) % 2 == (width - side) % 2 == 0, "the sides must differ by an even number"
    top, left = (height - side) // 2, (width - side) // 2
    return rgb[top : top + side, left : left + side]


def box_filter(square: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """Return the means of equal blocks: the expected result of the box filter for an integer factor."""
    factor = square.shape[0] // side
    return np.asarray(square.reshape(side, factor, side, factor, 3).mean(axis=(1, 3)))


def fail(key: object, reason: str) -> None:
    raise AssertionError(f"{key} could not be read: {reason}")


# --- one path for training and serving


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_training_and_serving_prepare_the_same_pixels(spec: PreprocessSpec, tmp_path: Path) -> None:
    """There is no training-serving skew."""
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = {
        "photo.jpg": encode(blocks(12, 16, side=64), "JPEG"),
        "rotated.jpg": encode(noise(300, 700), "JPEG", exif=exif),
        "screenshot.png": encode(noise(50, 80), "PNG"),
        "small.webp": encode(noise(9, 7), "WEBP", lossless=True),
        "grey.tiff": encode(Image.fromarray(noise(64, 64)[..., 0]), "TIFF"),
    }
    for name, data in encoded.items():
        (tmp_path / name).write_bytes(data)
    paths = {name: tmp_path / name for name in encoded}
    for batches in (prepared_batches(paths, spec), load_batches(paths, spec, fail)):
        ((names, pixels),) = batches
        assert names == list(encoded)
        for name, row in zip(names, pixels, strict=True):
            served = prepare(encoded[name], [spec])[spec]
            assert np.array_equal(row, served), f"{name} is preprocessed differently in training and in serving"


def test_one_result_per_distinct_spec() -> None:
    data = encode(noise(40, 60), "PNG")
    results = prepare(data, [SPECS[0], SPECS[1], SPECS[0], SPECS[0].model_copy()])
    assert set(results) == {SPECS[0], SPECS[1]}
    for spec, pixels in results.items():
        assert np.array_equal(pixels, preprocess(decode_array(data), spec))


BASE = PreprocessSpec(size=48, source=24)
VARIATIONS: dict[str, dict[str, Any]] = {
    "size": {"size": 40},
    "source": {"source": 23},
    "no source": {"source": None},
    "crop": {"crop": "none"},
    "shrink": {"shrink": "bilinear"},
    "enlarge": {"enlarge": "bicubic"},
    "decode_margin": {"decode_margin": 2},
}
"""Each differs from BASE in one field that changes the pixels."""


def test_specs_that_differ_in_one_field_have_pixels_of_their_own() -> None:
    """Results are kept by spec: if a field did not distinguish specs, one would get the pixels of another."""
    specs = [BASE, *(BASE.model_copy(update=change) for change in VARIATIONS.values())]
    image = encode(Image.fromarray(noise(150, 200)).resize((800, 600)), "JPEG")
    results = prepare(image, specs)
    assert len(results) == len(specs) == len({spec.resize_spec for spec in specs})
    assert len({pixels.tobytes() for pixels in results.values()}) == len(specs)
    for spec, pixels in results.items():
        np.testing.assert_array_equal(pixels, prepare(image, [spec])[spec])


@pytest.mark.parametrize("change", [*VARIATIONS.values(), {"mirror": True}], ids=str)
def test_every_field_distinguishes_specs(change: dict[str, Any]) -> None:
    changed = BASE.model_copy(update=change)
    assert changed != BASE
    assert len({changed, BASE}) == 2
    assert changed.model_dump_json() != BASE.model_dump_json()
    assert PreprocessSpec.model_validate_json(changed.model_dump_json()) == changed
    assert (changed.resize_spec == BASE.resize_spec) == ("mirror" in change), "mirroring needs no other pixels"


def test_variations_cover_every_field() -> None:
    changed = {name for change in VARIATIONS.values() for name in change}
    assert changed | {"mirror"} == set(PreprocessSpec.model_fields)


def test_resize_all_keeps_specs_apart() -> None:
    specs = [BASE.model_copy(update=change).resize_spec for change in VARIATIONS.values()]
    rgb = noise(90, 120)
    results = resize_all(rgb, [*specs, *specs])
    assert results.keys() == set(specs)
    for spec, pixels in results.items():
        np.testing.assert_array_equal(pixels, np.array(resize(Image.fromarray(rgb), spec)))


def test_concatenated_results_are_split_in_order_without_gaps() -> None:
    specs = [
        BASE.model_copy(update={"size": size, "crop": crop}).resize_spec
        for size in (32, 33)
        for crop in ("center", "none")
    ]
    images = [np.full((spec.size, spec.size, 3), number, np.uint8) for number, spec in enumerate(specs, 1)]
    images[0][-1, -1, -1] = images[1][0, 0, 0] = 255
    buffer = b"".join(image.tobytes() for image in images)
    assert [spec.nbytes for spec in specs] == [image.nbytes for image in images]
    for spec, image in zip(specs, images, strict=True):
        np.testing.assert_array_equal(split_buffer(buffer, specs)[spec], image)


@pytest.mark.parametrize(
    ("field", "lowest", "highest"), [("size", 32, 1024), ("source", 8, 1024), ("decode_margin", 1, None)]
)
def test_bounds_of_a_spec(field: str, lowest: int, highest: int | None) -> None:
    for value in (lowest, highest):
        PreprocessSpec.model_validate({"size": 64, field: value})
    for value in (lowest - 1, *(() if highest is None else (highest + 1,))):
        with pytest.raises(ValueError, match="validation error"):
            PreprocessSpec.model_validate({"size": 64, field: value})


def test_pixels_of_a_spec_do_not_depend_on_other_specs() -> None:
    """Scaled decoding for one spec must not change the pixels for another."""
    small, smaller, large = (
        PreprocessSpec(size=32, source=8, decode_margin=8),
        PreprocessSpec(size=32, source=8, decode_margin=2),
        PreprocessSpec(size=224),
    )
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (40, 60, 3), dtype=np.uint8)).resize((1800, 1200))
    data = encode(image, "JPEG", quality=92)
    together = prepare(data, [small, smaller, large])
    for spec in (small, smaller, large):
        assert np.array_equal(prepare(data, [spec])[spec], together[spec])


def test_image_is_decoded_once_for_specs_that_need_the_same_reduction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several classifiers of a small photo, each with a margin of its own, cost one decoding."""
    sides: list[int | None] = []

    def counting(data: bytes, limits: Limits, min_side: int | None, on_header: Any) -> Image.Image:
        sides.append(min_side)
        return decode(data, limits, min_side, on_header)

    monkeypatch.setattr(resize_module, "decode", counting)
    specs = [
        PreprocessSpec(size=32, decode_margin=2),
        PreprocessSpec(size=40, decode_margin=2),
        PreprocessSpec(size=96),
    ]
    for height, decoded in ((100, 1), (159, 2), (160, 2), (800, 2)):
        sides.clear()
        headers: list[int] = []
        prepare_images(
            encode(noise(height, 900), "JPEG"), [spec.resize_spec for spec in specs], on_header=headers.append
        )
        assert len(sides) == decoded, height
        assert headers == [900 * height]


def test_prepare_rejects_empty_and_too_large_images() -> None:
    spec = PreprocessSpec(size=32)
    with pytest.raises(EmptyImage):
        prepare(b"", [spec])
    with pytest.raises(ImageTooLarge):
        prepare(encode(noise(8, 8), "PNG"), [spec], Limits(max_pixels=63))


def test_each_spec_gets_pixels_of_its_own_size() -> None:
    specs = [PreprocessSpec(size=32), PreprocessSpec(size=48, source=16)]
    results = prepare(encode(noise(80, 60), "JPEG"), specs)
    assert {spec.size: pixels.shape for spec, pixels in results.items()} == {32: (32, 32, 3), 48: (48, 48, 3)}


# --- both steps


def test_image_of_the_input_size_is_unchanged() -> None:
    image = noise(96, 96)
    assert np.array_equal(preprocess(image, PreprocessSpec(size=96)), image)
    assert np.array_equal(to_source(noise(32, 32), SPECS[0]), noise(32, 32))


@pytest.mark.parametrize("shape", [(64, 64), (64, 128), (128, 64), (320, 64), (64, 66), (96, 256)], ids=str)
def test_box_filter_averages_blocks_of_the_centre_square(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    spec = PreprocessSpec(size=32, shrink="box")
    expected = box_filter(centre(image), 32)
    assert np.abs(preprocess(image, spec) - expected).max() <= 1


def test_odd_difference_crops_half_a_pixel_on_each_side() -> None:
    """32 high, 33 wide: each column of the square lies between two columns of the image."""
    image = noise(32, 33)
    expected = (image[:, :-1].astype(float) + image[:, 1:]) / 2
    assert np.abs(preprocess(image, PreprocessSpec(size=32, shrink="bilinear")) - expected).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(33, 32), (101, 64), (64, 101), (50, 333)])
def test_crop_is_centred(height: int, width: int) -> None:
    image = noise(height, width)
    for flip in (np.s_[:, ::-1], np.s_[::-1]):
        mirrored = preprocess(np.ascontiguousarray(image[flip]), SPECS[0])[flip]
        assert np.abs(mirrored.astype(int) - preprocess(image, SPECS[0])).max() <= 2


def test_without_crop_the_whole_image_is_squeezed() -> None:
    image = noise(64, 128)
    expected = image.reshape(32, 2, 32, 4, 3).mean(axis=(1, 3))
    assert np.abs(preprocess(image, PreprocessSpec(size=32, crop="none", shrink="box")) - expected).max() <= 1


@pytest.mark.parametrize("shrink", get_args(Filter))
def test_shrinking_is_antialiased(shrink: Filter) -> None:
    """Without antialiasing a chequered pattern would become black or white."""
    board = np.indices((512, 512)).sum(axis=0) % 2 * 255
    image = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    reduced = to_source(image, PreprocessSpec(size=96, source=32, shrink=shrink))
    assert reduced.min() >= 120, f"{shrink} does not antialias"
    assert reduced.max() <= 135, f"{shrink} does not antialias"


def test_first_step_removes_detail_finer_than_the_source() -> None:
    fine = to_input(to_source(noise(256, 256), SPECS[0]), SPECS[0])
    assert fine.std() < preprocess(noise(256, 256), SPECS[1]).std(), "detail finer than the source must be removed"
    assert np.array_equal(preprocess(noise(256, 256), SPECS[0]), fine)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 200), st.integers(1, 200), st.integers(32, 128), st.none() | st.integers(8, 128),
    st.sampled_from(["center", "none"]), st.sampled_from(get_args(Filter)), st.sampled_from(get_args(Filter)),
)  # fmt: skip
def test_any_size_is_resized_to_the_input_size(
    height: int, width: int, size: int, source: int | None, crop: Any, shrink: Any, enlarge: Any
) -> None:
    spec = PreprocessSpec(size=size, source=source, crop=crop, shrink=shrink, enlarge=enlarge)
    result = preprocess(noise(height, width), spec)
    assert result.shape == (size, size, 3)
    assert result.dtype == np.uint8


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 3), (4999, 3)], ids=str)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_extreme_sizes_are_resized_to_the_input_size(shape: tuple[int, int], spec: PreprocessSpec) -> None:
    result = preprocess(np.full((*shape, 3), 77, np.uint8), spec)
    assert result.shape == (spec.size, spec.size, 3)
    assert (result == 77).all(), "an image of one colour must keep it"


# --- the spec is data


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_spec_round_trips_through_json(spec: PreprocessSpec) -> None:
    assert PreprocessSpec.model_validate_json(spec.model_dump_json()) == spec
    assert PreprocessSpec.model_validate(json.loads(json.dumps(spec.model_dump(mode="json")))) == spec


def test_equal_specs_have_equal_hashes() -> None:
    assert len({PreprocessSpec(size=96, source=32), PreprocessSpec(source=32, size=96)}) == 1


def test_spec_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        SPECS[0].size = 64  # type: ignore[misc]


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 96, "colour": "bgr"},
        {"size": 16},
        {"size": 96, "source": 4},
        {"size": 96, "crop": "left"},
        {"size": 96, "shrink": "nearest"},
        {},
    ],
    ids=str,
)
def test_invalid_spec_is_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        PreprocessSpec.model_validate(wrong)


def test_result_does_not_share_memory_with_the_image() -> None:
    """Callers keep results for a long time; a view would keep the whole image in memory."""
    with Image.open(BytesIO(encode(noise(300, 300), "PNG"))) as image:
        result = preprocess(np.asarray(image), SPECS[1])
    assert result.base is None or result.base.nbytes == result.nbytes
    assert result.flags.writeable


def test_second_step_can_enlarge_a_box() -> None:
    source = np.zeros((8, 8, 3), np.uint8)
    source[:4, 4:] = 200
    spec = PreprocessSpec(size=32, source=8)
    assert (to_input(source, spec, (5.0, 0.0, 8.0, 3.0)) == 200).all()
    assert (to_input(source, spec, (0.0, 0.0, 3.0, 8.0)) == 0).all()
    np.testing.assert_array_equal(to_input(source, spec, (0.0, 0.0, 8.0, 8.0)), to_input(source, spec))


def test_copied_spec_recomputes_its_resize_spec() -> None:
    spec = PreprocessSpec(size=96, source=32, decode_margin=2)
    assert (spec.resize_spec.size, spec.resize_spec.min_decoded_side) == (96, 64)
    changed = spec.model_copy(update={"size": 48, "source": 24})
    assert (changed.resize_spec.size, changed.resize_spec.source, changed.resize_spec.min_decoded_side) == (48, 24, 48)
