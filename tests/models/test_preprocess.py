from __future__ import annotations

import json
import threading
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

from models.arrays import Pixels, decode_array
from models.decoding.resize import Filter
from models.offline import loader as streaming
from models.preprocess import PreprocessSpec, prepare, preprocess, to_input, to_source
from tests.support.images import blocks, encode, noise
from training.data.loader import prepared_batches

SPECS = [
    PreprocessSpec(size=96, source=32),
    PreprocessSpec(size=96),
    PreprocessSpec(size=75, source=40, crop="none", shrink="lanczos", enlarge="bicubic"),
]


def centre(rgb: Pixels) -> Pixels:
    """The centre square; sides of which an odd number of pixels goes lose half of one at each end."""
    height, width = rgb.shape[:2]
    side = min(height, width)
    assert (height - side) % 2 == (width - side) % 2 == 0, "take sizes that differ by an even number"
    top, left = (height - side) // 2, (width - side) // 2
    return rgb[top : top + side, left : left + side]


def box_filter(square: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """Means of equal blocks, which is what `box` has to give for a whole factor."""
    factor = square.shape[0] // side
    return np.asarray(square.reshape(side, factor, side, factor, 3).mean(axis=(1, 3)))


def never(key: object, why: str) -> None:
    raise AssertionError(f"{key} could not be read: {why}")


# --- one path for training and serving


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_training_and_serving_prepare_the_same_pixels(spec: PreprocessSpec, tmp_path: Path) -> None:
    """No skew: features are extracted from the arrays that the server would make of the same files."""
    exif = Image.Exif()
    exif[0x0112] = 6
    encoded = {
        "photo.jpg": encode(blocks(12, 16, side=64), "JPEG"),
        "turned.jpg": encode(noise(300, 700), "JPEG", exif=exif),
        "screenshot.png": encode(noise(50, 80), "PNG"),
        "small.webp": encode(noise(9, 7), "WEBP", lossless=True),
        "grey.tiff": encode(Image.fromarray(noise(64, 64)[..., 0]), "TIFF"),
    }
    for name, data in encoded.items():
        (tmp_path / name).write_bytes(data)
    paths = {name: tmp_path / name for name in encoded}
    for batches in (prepared_batches(paths, spec), streaming.load_batches(paths, spec, never)):
        ((names, pixels),) = batches
        assert names == list(encoded)
        for name, row in zip(names, pixels, strict=True):
            served = prepare(encoded[name], [spec])[spec]
            assert np.array_equal(row, served), f"{name} is prepared differently in training and in serving"


def test_a_picture_is_decoded_once_and_prepared_once_for_each_distinct_spec() -> None:
    data = encode(noise(40, 60), "PNG")
    found = prepare(data, [SPECS[0], SPECS[1], SPECS[0], SPECS[0].model_copy()])
    assert set(found) == {SPECS[0], SPECS[1]}
    for spec, pixels in found.items():
        assert np.array_equal(pixels, preprocess(decode_array(data), spec))


def test_the_answer_of_a_spec_does_not_depend_on_its_company() -> None:
    """A classifier that is asked alone reads the same pixels as together with one that needs more of the photo."""
    small, smaller, large = (
        PreprocessSpec(size=32, source=8, decode_margin=8),
        PreprocessSpec(size=32, source=8, decode_margin=2),
        PreprocessSpec(size=224),
    )
    random = np.random.default_rng(0)
    photo = Image.fromarray(random.integers(0, 256, (40, 60, 3), dtype=np.uint8)).resize((1800, 1200))
    data = encode(photo, "JPEG", quality=92)
    together = prepare(data, [small, smaller, large])
    for spec in (small, smaller, large):
        assert np.array_equal(prepare(data, [spec])[spec], together[spec])


# --- streaming


def test_pictures_stream_in_their_order_and_broken_ones_are_told(tmp_path: Path) -> None:
    paths = {}
    for index in range(150):
        paths[index] = tmp_path / f"{index}.png"
        paths[index].write_bytes(encode(noise(8, 8, seed=index), "PNG") if index % 50 else b"broken")
    paths[150] = tmp_path / "missing.png"
    broken: dict[int, str] = {}
    batches = list(streaming.load_batches(paths, SPECS[1], broken.__setitem__))
    assert [len(keys) for keys, _ in batches] == [64, 64, 19]
    assert [key for keys, _ in batches for key in keys] == [index for index in range(150) if index % 50]
    assert sorted(broken) == [0, 50, 100, 150]
    assert "not an image" in broken[0]
    assert broken[150] == "No such file or directory"
    for keys, pixels in batches:
        for key, row in zip(keys, pixels, strict=True):
            assert np.array_equal(row, preprocess(noise(8, 8, seed=key), SPECS[1]))


def test_a_stream_that_is_left_early_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(noise(8, 8), "PNG"))
    batches = streaming.load_batches(dict.fromkeys(range(1000), path), SPECS[1], never)
    next(iter(batches))
    batches.close()  # type: ignore[attr-defined]  # a generator


def test_the_next_value_is_made_while_the_caller_works() -> None:
    is_made = threading.Event()

    def values() -> Iterator[int]:
        yield 1
        is_made.set()
        yield 2

    ahead = streaming.prefetch(values())
    assert next(ahead) == 1
    assert is_made.wait(10), "nothing happens until the caller comes back"
    assert list(ahead) == [2]


def test_an_error_comes_after_the_values_before_it() -> None:
    def values() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    ahead = streaming.prefetch(values())
    assert next(ahead) == 1
    with pytest.raises(ZeroDivisionError):
        next(ahead)


# --- both steps


def test_a_picture_of_the_right_size_stays_as_it_is() -> None:
    picture = noise(96, 96)
    assert np.array_equal(preprocess(picture, PreprocessSpec(size=96)), picture)
    assert np.array_equal(to_source(noise(32, 32), SPECS[0]), noise(32, 32))


@pytest.mark.parametrize("shape", [(64, 64), (64, 128), (128, 64), (320, 64), (64, 66), (96, 256)], ids=str)
def test_the_centre_square_is_reduced_by_means_of_blocks(shape: tuple[int, int]) -> None:
    picture = noise(*shape)
    spec = PreprocessSpec(size=32, shrink="box")
    expected = box_filter(centre(picture), 32)
    assert np.abs(preprocess(picture, spec) - expected).max() <= 1


def test_an_odd_difference_takes_half_a_pixel_from_each_side() -> None:
    """32 high, 33 wide: each column of the square lies between two of the picture's."""
    picture = noise(32, 33)
    expected = (picture[:, :-1].astype(float) + picture[:, 1:]) / 2
    assert np.abs(preprocess(picture, PreprocessSpec(size=32, shrink="bilinear")) - expected).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(33, 32), (101, 64), (64, 101), (50, 333)])
def test_the_crop_is_in_the_centre(height: int, width: int) -> None:
    picture = noise(height, width)
    for flip in (np.s_[:, ::-1], np.s_[::-1]):
        mirrored = preprocess(np.ascontiguousarray(picture[flip]), SPECS[0])[flip]
        assert np.abs(mirrored.astype(int) - preprocess(picture, SPECS[0])).max() <= 2


def test_without_a_crop_the_whole_picture_is_squeezed() -> None:
    picture = noise(64, 128)
    expected = picture.reshape(32, 2, 32, 4, 3).mean(axis=(1, 3))
    assert np.abs(preprocess(picture, PreprocessSpec(size=32, crop="none", shrink="box")) - expected).max() <= 1


@pytest.mark.parametrize("shrink", get_args(Filter))
def test_reducing_is_antialiased(shrink: Filter) -> None:
    """Without it a chequered pattern would come out black or white."""
    board = np.indices((512, 512)).sum(axis=0) % 2 * 255
    picture = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    reduced = to_source(picture, PreprocessSpec(size=96, source=32, shrink=shrink))
    assert reduced.min() >= 120, f"{shrink} does not antialias"
    assert reduced.max() <= 135, f"{shrink} does not antialias"


def test_the_first_step_takes_away_what_training_images_never_had() -> None:
    fine = to_input(to_source(noise(256, 256), SPECS[0]), SPECS[0])
    assert fine.std() < preprocess(noise(256, 256), SPECS[1]).std(), "detail finer than the source has to be gone"
    assert np.array_equal(preprocess(noise(256, 256), SPECS[0]), fine)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 200), st.integers(1, 200), st.integers(32, 128), st.none() | st.integers(8, 128),
    st.sampled_from(["center", "none"]), st.sampled_from(get_args(Filter)), st.sampled_from(get_args(Filter)),
)  # fmt: skip
def test_any_size_gives_the_network_s_input(
    height: int, width: int, size: int, source: int | None, crop: Any, shrink: Any, enlarge: Any
) -> None:
    spec = PreprocessSpec(size=size, source=source, crop=crop, shrink=shrink, enlarge=enlarge)
    found = preprocess(noise(height, width), spec)
    assert found.shape == (size, size, 3)
    assert found.dtype == np.uint8


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 3), (4999, 3)], ids=str)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_extreme_sizes_give_the_network_s_input(shape: tuple[int, int], spec: PreprocessSpec) -> None:
    found = preprocess(np.full((*shape, 3), 77, np.uint8), spec)
    assert found.shape == (spec.size, spec.size, 3)
    assert (found == 77).all(), "a picture of one colour keeps it"


# --- the spec is data


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_spec_survives_json(spec: PreprocessSpec) -> None:
    assert PreprocessSpec.model_validate_json(spec.model_dump_json()) == spec
    assert PreprocessSpec.model_validate(json.loads(json.dumps(spec.model_dump(mode="json")))) == spec


def test_equal_specs_are_one_key() -> None:
    assert len({PreprocessSpec(size=96, source=32), PreprocessSpec(source=32, size=96)}) == 1


def test_a_spec_is_frozen() -> None:
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
def test_a_spec_that_says_something_else_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        PreprocessSpec.model_validate(wrong)


def test_the_result_is_an_array_of_its_own() -> None:
    """Callers keep rows for long; a view of a photograph would keep the photograph."""
    with Image.open(BytesIO(encode(noise(300, 300), "PNG"))) as photo:
        found = preprocess(np.asarray(photo), SPECS[1])
    assert found.base is None or found.base.nbytes == found.nbytes
    assert found.flags.writeable


def test_the_second_step_may_enlarge_a_part() -> None:
    source = np.zeros((8, 8, 3), np.uint8)
    source[:4, 4:] = 200
    spec = PreprocessSpec(size=32, source=8)
    assert (to_input(source, spec, (5.0, 0.0, 8.0, 3.0)) == 200).all()
    assert (to_input(source, spec, (0.0, 0.0, 3.0, 8.0)) == 0).all()
    np.testing.assert_array_equal(to_input(source, spec, (0.0, 0.0, 8.0, 8.0)), to_input(source, spec))


def test_a_changed_copy_of_a_spec_has_steps_of_its_own() -> None:
    spec = PreprocessSpec(size=96, source=32, decode_margin=2)
    assert (spec.resize_spec.size, spec.resize_spec.needed_side) == (96, 64)
    changed = spec.model_copy(update={"size": 48, "source": 24})
    assert (changed.resize_spec.size, changed.resize_spec.source, changed.resize_spec.needed_side) == (48, 24, 48)
