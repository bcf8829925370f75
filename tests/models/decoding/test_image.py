"""Decoding of every format, depth and colour space to upright RGB, and rejection of everything else."""

from __future__ import annotations

import struct
import tarfile
import time
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.arrays import Pixels
from models.decoding.errors import EmptyImage, ImageError, ImageTooLarge, UndecodableImage, UnsupportedImage
from models.decoding.image import FORMATS, sniff
from models.decoding.limits import Limits
from models.preprocess import decode_array
from tests.support.images import (
    GREY,
    PALETTE,
    RGB,
    RGB_ALPHA,
    Order,
    blocks,
    encode,
    huge_png,
    iso_media,
    noise,
    png,
    shared,
    tiff,
)

ORIENTATION = 0x0112

#: EXIF orientation -> conversion of the stored pixels to the upright image. The standard defines the position of the
#: first row and column (CIPA DC-008, 4.6.4 A): top-left, top-right, bottom-right, bottom-left, left-top, ...
UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],
    7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}

needs_avif = pytest.mark.skipif("AVIF" not in FORMATS, reason="this Pillow was built without AVIF")
#: Pillow warns about damaged metadata, which the server ignores.
ignore_warnings = pytest.mark.filterwarnings("ignore")


def assert_equal(actual: Pixels, expected: npt.NDArray[Any], max_difference: int = 0) -> None:
    assert actual.dtype == np.uint8
    assert actual.shape == expected.shape, f"decoded to {actual.shape}, expected {expected.shape}"
    worst = int(np.abs(actual.astype(int) - expected.astype(int)).max())
    assert worst <= max_difference, f"a sample is off by {worst}, at most {max_difference} is allowed"


def assert_equal_blocks(actual: Pixels, expected: npt.NDArray[Any], max_difference: int = 4, side: int = 16) -> None:
    """Compare the centres of the blocks, which lossy formats do not mix with their neighbours."""
    assert actual.shape == expected.shape, f"decoded to {actual.shape}, expected {expected.shape}"
    middle = np.s_[side // 2 :: side, side // 2 :: side]
    assert_equal(actual[middle], expected[middle], max_difference)


def on_white(colours: npt.NDArray[Any], alpha: npt.NDArray[Any]) -> npt.NDArray[Any]:
    share = (alpha / 255)[..., None]
    return np.rint(colours * share + 255 * (1 - share))


def grey_to_rgb(grid: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.stack([grid] * 3, axis=-1)


# --- formats


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_round_trip(kind: str) -> None:
    assert_equal(decode_array(encode(noise(13, 21), kind)), noise(13, 21))


def test_lossless_webp_round_trips() -> None:
    assert_equal(decode_array(encode(noise(13, 21), "WEBP", lossless=True, exact=True)), noise(13, 21))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True}], ids=str)
def test_jpeg_keeps_flat_blocks(options: dict[str, Any]) -> None:
    assert_equal_blocks(decode_array(encode(blocks(), "JPEG", quality=95, **options)), blocks())


def test_lossy_webp_keeps_flat_blocks() -> None:
    assert_equal_blocks(decode_array(encode(blocks(), "WEBP", quality=100)), blocks(), max_difference=6)


@needs_avif
def test_avif_keeps_flat_blocks() -> None:
    assert_equal_blocks(decode_array(encode(blocks(), "AVIF", quality=100, subsampling="4:4:4")), blocks())


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation_is_decoded(kind: str) -> None:
    red, *others = [Image.new("RGB", (20, 10), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(red, kind, save_all=True, append_images=others, **options)
    with Image.open(BytesIO(data)) as image:
        assert getattr(image, "n_frames", 1) == 3, "the test file must have three frames"
    assert_equal(decode_array(data), np.full((10, 20, 3), (255, 0, 0)))


def test_first_image_of_an_mpo_is_decoded() -> None:
    left, right = Image.fromarray(blocks()), Image.new("RGB", (64, 48), "black")
    data = encode(left, "MPO", save_all=True, append_images=[right], quality=95)
    assert_equal_blocks(decode_array(data), blocks())
    assert decode_array(data, min_side=24).shape == (24, 32, 3), "an MPO can be decoded at reduced size as well"


@pytest.mark.parametrize("data", [noise(5, 7), noise(1, 1), noise(1, 300), noise(300, 1)], ids=lambda a: str(a.shape))
def test_any_size_works(data: Pixels) -> None:
    assert_equal(decode_array(encode(data, "PNG")), data)


# --- orientation


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "TIFF, LZW", *(["AVIF"] if "AVIF" in FORMATS else [])])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options: dict[str, Any] = {"exif": exif}
    if kind == "TIFF, LZW":
        kind, options = "TIFF", {"compression": "tiff_lzw", "tiffinfo": {ORIENTATION: orientation}}
    if kind == "AVIF":
        options |= {"quality": 100, "subsampling": "4:4:4"}
    data = encode(blocks(), kind, **options)
    assert_equal_blocks(decode_array(data), UPRIGHT[orientation](blocks()), max_difference=6)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied_after_scaled_decoding(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(blocks(side=64), "JPEG", exif=exif)
    assert_equal_blocks(decode_array(data, min_side=48), UPRIGHT[orientation](blocks()), max_difference=6)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_invalid_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert_equal(decode_array(encode(noise(4, 6), "PNG", exif=exif)), noise(4, 6))


@ignore_warnings
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03\0\0\0\x01",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\xff\xff\x7f\x08\0\0\0",
    ],
    ids=["empty", "garbage", "offset beyond the end", "cut short", "two gigabytes of text"],
)
def test_damaged_exif_is_ignored(exif: bytes) -> None:
    data = encode(blocks(), "JPEG", quality=95)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    assert_equal_blocks(decode_array(data[:2] + segment + data[2:]), blocks())


# --- transparency


def test_alpha_is_composited_on_white() -> None:
    colours, alpha = noise(9, 11), noise(9, 11, seed=1)[..., 0]
    data = encode(np.dstack([colours, alpha]), "PNG")
    assert_equal(decode_array(data), on_white(colours, alpha), max_difference=1)


@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_alpha_of_other_formats_is_composited_on_white(kind: str) -> None:
    colours, alpha = noise(9, 11), noise(9, 11, seed=1)[..., 0]
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert_equal(
        decode_array(encode(np.dstack([colours, alpha]), kind, **options)), on_white(colours, alpha), max_difference=1
    )


def test_grey_with_alpha_is_composited_on_white() -> None:
    grey, alpha = noise(9, 11)[..., 0], noise(9, 11, seed=1)[..., 0]
    data = encode(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), "PNG")
    assert_equal(decode_array(data), on_white(grey_to_rgb(grey), alpha), max_difference=1)


def test_16_bit_colour_with_alpha_keeps_its_high_bytes() -> None:
    samples = np.random.default_rng(0).integers(0, 65536, (6, 5, 4))
    high = samples >> 8
    assert_equal(decode_array(png(samples, RGB_ALPHA, 16)), on_white(high[..., :3], high[..., 3]), max_difference=1)


def test_palette_with_alpha_is_composited_on_white() -> None:
    palette = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 20, 30)]
    alphas = bytes([0, 128, 255])  # the fourth has none: opaque
    indices = np.array([[0, 1, 2, 3], [3, 2, 1, 0]])
    expected = on_white(np.array(palette)[indices], np.array([0, 128, 255, 255])[indices])
    for bits in (2, 4, 8):
        assert_equal(
            decode_array(png(indices, PALETTE, bits, palette=palette, alphas=alphas)), expected, max_difference=1
        )


def test_transparent_colour_of_a_gif_becomes_white() -> None:
    indices = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8)).convert("P")
    indices.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    expected = np.array([[(255, 0, 0), (255, 255, 255)], [(0, 0, 255), (255, 255, 255)]])
    assert_equal(decode_array(encode(indices, "GIF", transparency=1)), expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_transparent_grey_level_becomes_white(bits: int) -> None:
    levels = 2**bits
    samples = np.arange(24).reshape(4, 6) % levels
    for transparent in {0, 1, levels - 1}:
        expected = samples * (255 // (levels - 1))
        expected[samples == transparent] = 255
        assert_equal(decode_array(png(samples, GREY, bits, transparent=[transparent])), grey_to_rgb(expected))


def test_transparent_colour_becomes_white() -> None:
    samples = noise(5, 6)
    expected = samples.copy()
    expected[2, 3] = 255
    assert_equal(decode_array(png(samples, RGB, 8, transparent=samples[2, 3].tolist())), expected)


def test_transparent_16_bit_grey_level_becomes_white() -> None:
    samples = np.array([[0, 1000, 1001], [30000, 65535, 999]])
    expected = np.rint(samples / 65535 * 255)
    expected[0, 1] = 255
    assert_equal(decode_array(png(samples, GREY, 16, transparent=[1000])), grey_to_rgb(expected))


# --- depths and colour spaces


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_of_1_to_8_bits_spans_black_to_white(bits: int) -> None:
    samples = np.arange(40).reshape(4, 10) % 2**bits
    assert_equal(decode_array(png(samples, GREY, bits)), grey_to_rgb(np.rint(samples * 255 / (2**bits - 1))))


def test_16_bit_grey_png_spans_black_to_white() -> None:
    samples = np.arange(65536).reshape(256, 256)  # every level
    assert_equal(decode_array(png(samples, GREY, 16)), grey_to_rgb(np.rint(samples / 65535 * 255)))


@pytest.mark.parametrize(
    ("order", "photometric"),
    [
        pytest.param("<", 1, id="little endian"),
        pytest.param(">", 1, id="big endian"),
        pytest.param("<", 0, id="little endian, white is zero"),
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_16_bit_grey_tiff_spans_black_to_white(order: Order, photometric: int, orientation: int) -> None:
    samples = np.random.default_rng(0).integers(0, 65536, (7, 9)).astype(np.uint16)
    expected = np.rint(samples / 65535 * 255)
    expected = grey_to_rgb(expected if photometric else 255 - expected)
    assert_equal(
        decode_array(tiff(samples, order, photometric, orientation=orientation)),
        UPRIGHT[orientation](expected),
        max_difference=0,
    )


def test_compressed_16_bit_grey_tiff() -> None:
    samples = np.random.default_rng(0).integers(0, 65536, (7, 9)).astype(np.uint16)
    data = encode(Image.fromarray(samples), "TIFF", compression="tiff_lzw")
    assert_equal(decode_array(data), grey_to_rgb(np.rint(samples / 65535 * 255)))


def test_16_bit_colour_keeps_its_high_bytes() -> None:
    samples = np.random.default_rng(0).integers(0, 65536, (6, 5, 3))
    assert_equal(decode_array(png(samples, RGB, 16)), samples >> 8)


@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.float32])
def test_32_bits_per_sample_are_rejected(dtype: Any) -> None:
    mode = "F" if dtype is np.float32 else "I"
    with pytest.raises(UndecodableImage, match="32 bits"):
        decode_array(encode(Image.new(mode, (4, 4), 7), "TIFF"))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_is_resolved_to_colours(bits: int) -> None:
    palette = [(255, 0, 0), (0, 250, 0), (0, 0, 245), (9, 8, 7)][: 2**bits]
    indices = np.arange(20).reshape(4, 5) % len(palette)
    assert_equal(decode_array(png(indices, PALETTE, bits, palette=palette)), np.array(palette)[indices])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_one_bit_pixels_are_black_and_white(kind: str) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (9, 11)).astype(bool)
    assert_equal(decode_array(encode(Image.fromarray(bits), kind)), grey_to_rgb(bits * 255))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "JPEG"])
def test_grey_becomes_three_equal_channels(kind: str) -> None:
    grey = blocks()[..., 0]
    assert_equal(
        decode_array(encode(Image.fromarray(grey), kind, quality=95)),
        grey_to_rgb(grey),
        max_difference=3 if kind == "JPEG" else 0,
    )


CMYK = np.array([(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (40, 90, 160, 30)])


def cmyk_image() -> tuple[Image.Image, npt.NDArray[Any]]:
    inks = CMYK.reshape(2, 3, 4).repeat(16, axis=0).repeat(16, axis=1)
    rgb = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    return Image.frombytes("CMYK", (48, 32), inks.astype(np.uint8).tobytes()), rgb


def test_cmyk_jpeg_is_converted_to_rgb() -> None:
    """Pillow writes CMYK like Adobe: inverted, with a marker."""
    image, expected = cmyk_image()
    data = encode(image, "JPEG", quality=100, subsampling=0)
    assert b"Adobe" in data, "the test file must have Adobe's marker"
    assert_equal(decode_array(data), expected, max_difference=4)


def test_adobe_ycck_jpeg_is_converted_to_rgb() -> None:
    """Adobe's YCCK: the inverted inks are stored as YCbCr and K, indicated by the marker's last byte."""
    image, expected = cmyk_image()
    *inks, black = image.split()
    coded = [plane.point(lambda value: 255 - value) for plane in Image.merge("RGB", inks).convert("YCbCr").split()]
    data = bytearray(encode(Image.merge("CMYK", (*coded, black)), "JPEG", quality=100, subsampling=0))
    marker = data.index(b"Adobe")
    data[marker + 11] = 2  # 0: CMYK, 2: YCCK
    assert_equal(decode_array(bytes(data)), expected, max_difference=4)


def test_cmyk_tiff_is_converted_to_rgb() -> None:
    image, expected = cmyk_image()
    assert_equal(decode_array(encode(image, "TIFF")), expected, max_difference=1)


# --- rejected files


def test_zero_bytes_are_an_empty_image() -> None:
    with pytest.raises(EmptyImage, match="0 bytes"):
        decode_array(b"")


@pytest.mark.parametrize(
    "data",
    [b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"\x00", b"\xff\xd8", b"RIFF\0\0\0\0WAVE"],
)
def test_other_files_are_rejected_with_the_supported_formats(data: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="JPEG, PNG, WebP, GIF, BMP, TIFF"):
        decode_array(data)


@needs_avif
def test_avif_is_recognized_by_any_of_its_brands() -> None:
    assert sniff(iso_media(b"avif")) == "AVIF"
    assert sniff(iso_media(b"mif1", b"miaf", b"avif")) == "AVIF"


@pytest.mark.parametrize("major", [b"isom", b"mp42", b"qt  ", b"\0\0\0\0"])
def test_video_is_rejected(major: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="video or an unknown image format"):
        decode_array(iso_media(major, b"avc1"))


def test_byte_limit_is_inclusive_and_reported() -> None:
    data = encode(noise(8, 8), "PNG")
    decode_array(data, Limits(max_bytes=len(data)))
    with pytest.raises(ImageTooLarge, match=f"{len(data)} bytes; the limit is {len(data) - 1} bytes"):
        decode_array(data, Limits(max_bytes=len(data) - 1))


def test_pixel_limit_is_inclusive_and_reported() -> None:
    data = encode(noise(8, 10), "PNG")
    decode_array(data, Limits(max_pixels=80))
    with pytest.raises(ImageTooLarge, match="10 x 8 = 80 pixels; the limit is 79 pixels"):
        decode_array(data, Limits(max_pixels=79))


def test_side_limit_is_inclusive_and_reported() -> None:
    data = encode(noise(8, 10), "PNG")
    decode_array(data, Limits(max_side=10))
    with pytest.raises(ImageTooLarge, match="10 x 8; the limit for a side is 9 pixels"):
        decode_array(data, Limits(max_side=9))


def test_limits_apply_to_the_full_size_of_a_jpeg() -> None:
    data = encode(blocks(side=64), "JPEG")
    with pytest.raises(ImageTooLarge):
        decode_array(data, Limits(max_pixels=192 * 256 - 1), min_side=8)


@ignore_warnings
def test_decompression_bomb_is_rejected_by_its_header() -> None:
    data = huge_png(10_000)
    assert len(data) < 20_000
    began = time.process_time()
    with pytest.raises(ImageTooLarge, match="10000 x 10000 = 100,000,000 pixels; the limit is 64,000,000"):
        decode_array(data)
    assert time.process_time() - began < 0.1, "the image was decoded although its header exceeds the limit"


@pytest.mark.parametrize("side", [10_000, 14_000, 20_000])
@pytest.mark.parametrize("filtered", ["error", "ignore", "default"])
def test_decompression_bomb_is_rejected_with_any_warning_filter(side: int, filtered: Any) -> None:
    """Pillow warns above 89 million pixels and raises above 179 million."""
    with warnings.catch_warnings(record=True):
        warnings.simplefilter(filtered)
        with pytest.raises(ImageTooLarge, match="pixels"):
            decode_array(huge_png(side))


KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if "AVIF" in FORMATS else [])]


@ignore_warnings
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_truncated_image_is_rejected(kind: str, share: float) -> None:
    data = encode(noise(60, 60), kind)
    with pytest.raises(UndecodableImage, match=f"This {kind} image cannot be decoded"):
        decode_array(data[: max(12, int(len(data) * share))])


@pytest.mark.parametrize("min_side", [None, 8])
def test_magic_bytes_before_another_format_are_rejected(min_side: int | None) -> None:
    png_data = encode(noise(20, 20), "PNG")
    for magic in (b"\xff\xd8\xff", b"GIF89a", b"BM", b"II*\0", b"RIFF\0\0\0\0WEBP"):
        with pytest.raises(UndecodableImage):
            decode_array(magic + png_data, min_side=min_side)


@pytest.mark.parametrize("kind", KINDS)
def test_half_zeroed_file_does_not_crash(kind: str) -> None:
    data = bytearray(encode(noise(20, 20), kind))
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    try_to_decode(bytes(data))


# --- any input: an array or an ImageError


def try_to_decode(data: bytes, min_side: int | None = None) -> None:
    limits = Limits(max_pixels=4_000_000)
    try:
        rgb = decode_array(data, limits, min_side)
    except ImageError as error:
        lines = str(error).splitlines()
    else:
        lines = ["none"]
        assert rgb.dtype == np.uint8
        assert rgb.ndim == 3
        assert rgb.shape[2] == 3
        assert rgb.size
    assert len(lines) == 1, "an error is one line"


MAGICS = [
    b"",
    b"\xff\xd8\xff",
    b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    b"\x89PNG\r\n\x1a\n",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"GIF89a",
    b"BM",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"RIFF\xff\0\0\0WEBPVP8X",
    b"\0\0\0\x1cftypavif",
]
MIN_SIDES = st.one_of(st.none(), st.integers(1, 300))
VALID = [
    *[encode(noise(17, 23), kind) for kind in KINDS],
    encode(blocks(), "JPEG", progressive=True),
    encode(Image.fromarray(noise(9, 9)).quantize(16), "PNG"),
    encode(Image.fromarray(noise(9, 9)).convert("RGBA"), "TIFF", compression="tiff_lzw"),
    encode(cmyk_image()[0], "JPEG"),
    png(np.arange(64).reshape(8, 8), GREY, 16, transparent=[5]),
    tiff(np.zeros((8, 8), np.uint16), ">"),
]


@ignore_warnings
@settings(max_examples=400, deadline=None)
@given(st.sampled_from(MAGICS), st.binary(max_size=400), MIN_SIDES)
def test_arbitrary_bytes_give_an_array_or_an_image_error(magic: bytes, rest: bytes, min_side: int | None) -> None:
    try_to_decode(magic + rest, min_side)


@ignore_warnings
@settings(max_examples=600, deadline=None)
@given(st.data(), MIN_SIDES)
def test_mutated_image_gives_an_array_or_an_image_error(data: st.DataObject, min_side: int | None) -> None:
    encoded = bytearray(data.draw(st.sampled_from(VALID)))
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(encoded) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=8))
        encoded[start : start + data.draw(st.integers(0, 8))] = patch
    try_to_decode(bytes(encoded), min_side)


@ignore_warnings
def test_hostile_files_give_an_array_or_an_image_error_in_time() -> None:
    count, slow = 0, []
    with tarfile.open(shared("hostile-images.tar.gz")) as archive:
        for member in archive:
            if (file := archive.extractfile(member)) is None:
                continue
            data = file.read()
            for min_side in (None, 256):
                began = time.process_time()
                try_to_decode(data, min_side)
                if time.process_time() - began > 2:
                    slow.append(member.name)
            count += 1
    assert count > 400, "the archive has too few files"
    assert not slow, f"these take more than two seconds to decode: {slow}"


def test_large_image_is_composited_on_white_in_strips() -> None:
    random = np.random.default_rng(0).integers(0, 256, (1300, 900, 4), np.uint8)
    image = Image.fromarray(random)
    white = Image.new("RGBA", image.size, "white")
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    assert np.array_equal(decode_array(file.getvalue()), np.array(Image.alpha_composite(white, image).convert("RGB")))


def test_image_wider_than_a_strip_is_composited_on_white() -> None:
    width = 1_000_001
    file = BytesIO()
    Image.new("RGBA", (width, 2), (0, 0, 0, 0)).save(file, "PNG")
    assert decode_array(file.getvalue(), Limits(max_side=width)).min() == 255
