"""HEIC: the right pixels, or a typed error with bounded time and memory, for whatever phones and attackers send."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from models.arrays import Pixels
from models.decoding.errors import ImageError, ImageTooLarge, UndecodableImage, UnsupportedImage
from models.decoding.image import FORMATS, decode, sniff
from models.decoding.limits import Limits, check_structure
from models.decoding.protocol import AboveThreshold
from models.preprocess import decode_array, prepare
from tests.support.decode_worker import SPECS, WorkerConnection, patched_worker, running_worker
from tests.support.heic import (
    TILE_SIDE,
    Item,
    box,
    clap,
    coded,
    container,
    declared,
    full_box,
    grid,
    heic,
    imir,
    irot,
    transformed,
)
from tests.support.images import blocks
from tests.support.paths import ROOT

BLOCKS = blocks(side=32)
"""Pixels of the stored files, except those whose name tells of a change: uint8 [96, 128, 3]."""
NAMES = sorted({path.stem for path in Path(ROOT, "tests/models/decoding/heic").glob("*.heic")} - {"grey_10_bit"})
ORIENTATIONS = [(quarters, axis) for quarters in range(4) for axis in (None, 0, 1)]
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and memory limits of Linux")


def assert_blocks(actual: Pixels, expected: Pixels, max_difference: int = 8, side: int = 32) -> None:
    """Compare the centres of blocks, which lossy coding does not mix with their neighbours."""
    assert actual.dtype == np.uint8
    assert actual.shape == expected.shape, f"decoded to {actual.shape}, expected {expected.shape}"
    middle = np.s_[side // 2 :: side, side // 2 :: side]
    worst = int(np.abs(actual[middle].astype(int) - expected[middle].astype(int)).max())
    assert worst <= max_difference, f"a sample is off by {worst}, at most {max_difference} is allowed"


def upright(stored: Pixels, quarters: int, axis: int | None) -> Pixels:
    turned = np.rot90(stored, quarters)  # anti-clockwise, as irot
    return turned if axis is None else turned[::-1] if axis == 0 else turned[:, ::-1]


# --- what phones send


@pytest.mark.parametrize("name", ["blocks", "blocks_420", "blocks_10_bit", "second_is_primary"])
def test_photo_keeps_flat_blocks(name: str) -> None:
    assert_blocks(decode_array(heic(name)), BLOCKS)


def test_grey_photo_becomes_three_equal_channels() -> None:
    assert_blocks(decode_array(heic("grey")), np.stack([BLOCKS[..., 0]] * 3, axis=-1))


def test_grey_photo_of_more_than_8_bits_is_rejected() -> None:
    """Also one with 8-bit samples: pi-heif 1.4 allocates memory for the bits that the header declares."""
    data = heic("grey")
    configuration = data.index(b"hvcC") + 4
    for offset in (17, 18):  # bit depths of luma and chroma, less 8
        data = (
            data[: configuration + offset]
            + bytes([data[configuration + offset] | 2])
            + data[configuration + offset + 1 :]
        )
    for lying in (data, heic("grey_10_bit")):
        with pytest.raises(UndecodableImage, match="more than 8 bits"):
            decode_array(lying)


@pytest.mark.parametrize("name", ["alpha", "alpha_premultiplied"])
def test_alpha_is_composited_on_white(name: str) -> None:
    alpha = np.full(BLOCKS.shape[:2], 255)
    alpha[:, 64:], alpha[64:] = 128, 0
    share = (alpha / 255)[..., None]
    expected = np.rint(BLOCKS * share + 255 * (1 - share)).astype(np.uint8)
    assert_blocks(decode_array(heic(name)), expected)


@pytest.mark.parametrize("exif_orientation", [None, 1, 3, 6])
@pytest.mark.parametrize(("quarters", "axis"), ORIENTATIONS)
def test_photo_is_turned_once_by_its_properties_whatever_exif_says(
    quarters: int, axis: int | None, exif_orientation: int | None
) -> None:
    properties = [irot(quarters), *([] if axis is None else [imir(axis)])]
    data = transformed("blocks", *properties, exif_orientation=exif_orientation)
    assert_blocks(decode_array(data), upright(BLOCKS, quarters, axis))


def test_cropped_photo_shows_the_middle() -> None:
    assert_blocks(decode_array(transformed("blocks", clap(64, 32))), BLOCKS[32:64, 32:96])


def test_grid_of_tiles_is_one_image() -> None:
    tile = decode_array(grid(1, 1))
    assert tile.shape == (TILE_SIDE, TILE_SIDE, 3)
    assert np.array_equal(decode_array(grid(3, 2)), np.tile(tile, (2, 3, 1)))
    size = (2 * TILE_SIDE - 100, 2 * TILE_SIDE - 50)
    assert np.array_equal(decode_array(grid(2, 2, size)), np.tile(tile, (2, 2, 1))[: size[1], : size[0]])


@pytest.mark.parametrize("quarters", range(4))
def test_grid_is_rotated_as_a_whole(quarters: int) -> None:
    assert np.array_equal(decode_array(grid(3, 2, None, irot(quarters))), np.rot90(decode_array(grid(3, 2)), quarters))


def test_primary_image_is_decoded_wherever_it_is() -> None:
    images = [coded("alpha"), coded("tile"), coded("blocks")]
    assert decode_array(container(images, primary=2)).shape == (TILE_SIDE, TILE_SIDE, 3)
    assert_blocks(decode_array(container(images, primary=3)), BLOCKS)


@pytest.mark.parametrize(
    ("major", "compatible"),
    [(b"heic", b"mif1heic"), (b"heix", b"mif1"), (b"mif1", b"mif1heic"), (b"miaf", b"heic"), (b"mif1", b"mif1")],
)
def test_photo_is_recognized_by_any_of_its_brands(major: bytes, compatible: bytes) -> None:
    whole = transformed("blocks")
    start = int.from_bytes(whole[:4])
    brands = (b"ftyp" + major + bytes(4) + compatible).ljust(start - 4, b"\0")
    data = whole[:4] + brands + whole[start:]
    assert sniff(data) == "HEIC"
    assert_blocks(decode_array(data), BLOCKS)


def test_format_is_listed() -> None:
    assert "HEIC" in FORMATS
    with pytest.raises(UnsupportedImage, match="HEIC"):
        decode_array(b"hello")


# --- limits


@pytest.mark.parametrize("data", [grid(3, 2), grid(3, 2, None, irot(1))], ids=["upright", "rotated"])
def test_limits_are_inclusive_and_reported(data: bytes) -> None:
    pixels = 6 * TILE_SIDE**2
    assert decode_array(data, Limits(max_pixels=pixels, max_side=3 * TILE_SIDE)).size == 3 * pixels
    with pytest.raises(ImageTooLarge, match=f"{pixels:,} pixels; the limit is {pixels - 1:,} pixels"):
        decode_array(data, Limits(max_pixels=pixels - 1))
    with pytest.raises(ImageTooLarge, match="the limit for a side is 1,535 pixels"):
        decode_array(data, Limits(max_side=3 * TILE_SIDE - 1))


@pytest.mark.filterwarnings("ignore")  # Pillow warns of as many pixels
@pytest.mark.parametrize("size", [(30_000, 30_000), (65_535, 65_535), (2**31 - 1, 2**31 - 1), (10_000, 9000)])
def test_bomb_is_rejected_by_its_header(size: tuple[int, int]) -> None:
    for data in (declared("blocks", *size), grid(2, 2, size)):
        with pytest.raises((ImageTooLarge, UndecodableImage)):
            decode_array(data)


@pytest.mark.parametrize("size", [(0, 0), (64, 0), (1, 1), (127, 96), (128, 97), (96, 128), (4000, 3000)])
def test_frame_of_another_size_than_declared_is_an_error(size: tuple[int, int]) -> None:
    with pytest.raises(UndecodableImage):
        decode_array(declared("blocks", *size))


@pytest.fixture(scope="module")
def shared() -> Iterator[WorkerConnection]:
    """A worker for tests that do not change it."""
    with running_worker() as worker:
        yield worker


@pytest.mark.parametrize("name", NAMES)
def test_worker_returns_the_pixels_of_this_process(shared: WorkerConnection, name: str) -> None:
    actual, expected = shared.prepare(heic(name)), prepare(heic(name), SPECS)
    assert all(np.array_equal(actual[spec], pixels) for spec, pixels in expected.items())


def test_image_above_the_threshold_is_not_decoded(shared: WorkerConnection) -> None:
    pixels = 6 * TILE_SIDE**2
    assert shared.prepare(grid(3, 2), max_pixels=pixels)
    with pytest.raises(AboveThreshold):
        shared.prepare(grid(3, 2), max_pixels=pixels - 1)


@needs_linux
def test_hidden_frame_that_needs_too_much_memory_is_rejected() -> None:
    with running_worker(patched_worker("worker.BASE_BYTES = 30_000_000")) as worker:
        assert worker.prepare(heic("blocks")), "a small image must be decoded"
        with pytest.raises((UndecodableImage, EOFError)):
            worker.prepare(declared("large_frame", 64, 48))


def test_image_beyond_the_cpu_limit_kills_the_worker() -> None:
    with (
        running_worker(patched_worker("worker.BASE_CPU_S = worker.LARGE_IMAGE_CPU_S = 0.05")) as worker,
        pytest.raises(EOFError),
    ):
        worker.prepare(grid(8, 6))


# --- damaged and hostile files


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_truncated_photo_is_rejected(name: str, share: float) -> None:
    data = heic(name)
    with pytest.raises(UndecodableImage, match="This HEIC image cannot be decoded"):
        decode_array(data[: max(16, int(len(data) * share))])


def test_grid_without_some_of_its_tiles_is_rejected() -> None:
    for tiles in (0, 1, 5):
        with pytest.raises(UndecodableImage):
            decode_array(grid(3, 2, tiles=tiles))


@pytest.mark.parametrize("targets", [(1,), (1, 1, 1, 1), (9, 9, 9, 9)])
def test_grid_that_refers_to_itself_or_to_nothing_is_rejected(targets: tuple[int, ...]) -> None:
    whole = Item(b"grid", bytes([0, 0, 1, 1, 0, 128, 0, 96]), coded("blocks").properties[1:], b"dimg", targets)
    with pytest.raises(UndecodableImage):
        decode_array(container([whole, coded("blocks")]))


@pytest.mark.parametrize("primary", [0, 2, 99])
def test_missing_primary_image_is_rejected(primary: int) -> None:
    with pytest.raises(UndecodableImage):
        decode_array(container([coded("blocks")], primary=primary))


def test_metadata_as_primary_image_is_rejected() -> None:
    exif = Item(b"Exif", bytes(40), reference=b"cdsc", targets=(1,))
    with pytest.raises(UndecodableImage):
        decode_array(container([coded("blocks"), exif], primary=2))


@pytest.mark.parametrize("kind", [b"\xff\xff\xff\xff", b"E\xff\xff\xff", b"abc\xc3", b"\x80xif"])
def test_metadata_of_a_type_that_is_no_text_is_rejected(kind: bytes) -> None:
    """With which pi-heif 1.4 would crash."""
    with pytest.raises(UndecodableImage):
        decode_array(container([coded("blocks"), Item(kind, bytes(40), reference=b"cdsc", targets=(1,))]))
    assert_blocks(decode_array(container([coded("blocks"), Item(b"Abcd", bytes(40), (), b"cdsc", (1,))])), BLOCKS)


@pytest.mark.parametrize(("version", "number"), [(2, b"\0\2"), (3, b"\0\0\0\2")])
def test_content_types_must_be_text(version: int, number: bytes) -> None:
    def file_with(content_type: bytes) -> bytes:
        entry = full_box(b"infe", number, b"\0\0", b"mime", "Köln".encode(), b"\0", content_type, version=version)
        return box(b"ftyp", b"heic") + full_box(b"meta", full_box(b"iinf", b"\0\1", entry))

    check_structure(file_with(b"application/rdf+xml\0"), "HEIC")
    for content_type in (b"\xff\0", b"text\xc3\0"):
        with pytest.raises(UndecodableImage):
            check_structure(file_with(content_type), "HEIC")


@pytest.mark.parametrize("size", [b"\0\0\0\0", b"\0\0\0\1", b"\0\0\0\7"])
def test_entry_without_a_size_of_its_own_is_rejected(size: bytes) -> None:
    data = transformed("blocks")
    start = data.index(b"infe") - 4
    with pytest.raises(UndecodableImage):
        decode_array(data[:start] + size + data[start + 4 :])


@pytest.mark.parametrize(("boxes", "is_accepted"), [(900, True), (1100, False)])
def test_number_of_boxes_is_limited(boxes: int, is_accepted: bool) -> None:
    whole = transformed("blocks")
    data = whole + box(b"free") * boxes  # at the end, since places in a file are absolute
    if is_accepted:
        assert_blocks(decode_array(data), BLOCKS)
    else:
        with pytest.raises(UndecodableImage, match="too many parts"):
            decode_array(data)


def test_changed_bytes_give_pixels_or_an_image_error(shared: WorkerConnection) -> None:
    """In the worker, since a decoder that crashes must only cost its image."""
    random = np.random.default_rng(0)
    for number in range(300):
        data = bytearray(heic(NAMES[number % len(NAMES)]) if number % 4 else grid(2, 2))
        for _ in range(random.integers(1, 6)):
            start = int(random.integers(0, len(data)))
            data[start : start + int(random.integers(0, 8))] = random.bytes(int(random.integers(1, 8)))
        with suppress(ImageError):
            shared.prepare(bytes(data), limits=Limits(max_pixels=4_000_000))


def test_library_is_loaded_only_for_heic() -> None:
    code = (
        "import sys, models.decoding.worker as worker\n"
        "assert 'pi_heif' not in sys.modules and '_pi_heif' not in sys.modules\n"
        "from models.decoding.image import decode\n"
        f"decode(open({str(ROOT / 'tests/models/decoding/heic/blocks.heic')!r}, 'rb').read())\n"
        "assert '_pi_heif' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_decoded_photo_holds_its_pixels_once() -> None:
    image = decode(heic("second_is_primary"))
    assert getattr(image, "_heif_file", None) is None
