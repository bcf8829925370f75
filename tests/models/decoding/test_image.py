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

from models.arrays import Pixels, decode_array
from models.decoding.image import FORMATS, Limits, sniff
from models.errors import EmptyImage, ImageError, ImageTooLarge, UndecodableImage, UnsupportedImage
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

#: EXIF orientation -> the upright picture of stored rows and columns, from the standard's words on where row 0 and
#: column 0 belong (CIPA DC-008, 4.6.4 A): top-left, top-right, bottom-right, bottom-left, left-top, ...
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
#: Damaged metadata make Pillow warn; a server goes on after a warning, and so do these tests.
as_served = pytest.mark.filterwarnings("ignore")


def same(found: Pixels, expected: npt.NDArray[Any], within: int = 0) -> None:
    assert found.dtype == np.uint8
    assert found.shape == expected.shape, f"decoded to {found.shape}, expected {expected.shape}"
    worst = int(np.abs(found.astype(int) - expected.astype(int)).max())
    assert worst <= within, f"a sample is off by {worst}, at most {within} is allowed"


def same_blocks(found: Pixels, expected: npt.NDArray[Any], within: int = 4, side: int = 16) -> None:
    """In the middle of each block, where lossy formats mix nothing in from its neighbours."""
    assert found.shape == expected.shape, f"decoded to {found.shape}, expected {expected.shape}"
    middle = np.s_[side // 2 :: side, side // 2 :: side]
    same(found[middle], expected[middle], within)


def on_white(colours: npt.NDArray[Any], alpha: npt.NDArray[Any]) -> npt.NDArray[Any]:
    share = (alpha / 255)[..., None]
    return np.rint(colours * share + 255 * (1 - share))


def grey_to_rgb(grid: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.stack([grid] * 3, axis=-1)


# --- formats


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_lossless_format_comes_out_as_it_went_in(kind: str) -> None:
    same(decode_array(encode(noise(13, 21), kind)), noise(13, 21))


def test_webp_without_loss_comes_out_as_it_went_in() -> None:
    same(decode_array(encode(noise(13, 21), "WEBP", lossless=True, exact=True)), noise(13, 21))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True}], ids=str)
def test_jpeg_keeps_flat_blocks(options: dict[str, Any]) -> None:
    same_blocks(decode_array(encode(blocks(), "JPEG", quality=95, **options)), blocks())


def test_webp_with_loss_keeps_flat_blocks() -> None:
    same_blocks(decode_array(encode(blocks(), "WEBP", quality=100)), blocks(), within=6)


@needs_avif
def test_avif_keeps_flat_blocks() -> None:
    same_blocks(decode_array(encode(blocks(), "AVIF", quality=100, subsampling="4:4:4")), blocks())


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(kind: str) -> None:
    red, *others = [Image.new("RGB", (20, 10), colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(red, kind, save_all=True, append_images=others, **options)
    with Image.open(BytesIO(data)) as image:
        assert getattr(image, "n_frames", 1) == 3, "the test's own file has to hold three frames"
    same(decode_array(data), np.full((10, 20, 3), (255, 0, 0)))


def test_of_a_camera_s_mpo_the_first_picture_is_taken() -> None:
    left, right = Image.fromarray(blocks()), Image.new("RGB", (64, 48), "black")
    data = encode(left, "MPO", save_all=True, append_images=[right], quality=95)
    same_blocks(decode_array(data), blocks())
    assert decode_array(data, needed_side=24).shape == (24, 32, 3), "an MPO can be decoded at reduced size as well"


@pytest.mark.parametrize("data", [noise(5, 7), noise(1, 1), noise(1, 300), noise(300, 1)], ids=lambda a: str(a.shape))
def test_any_size_works(data: Pixels) -> None:
    same(decode_array(encode(data, "PNG")), data)


# --- orientation


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "TIFF, LZW", *(["AVIF"] if "AVIF" in FORMATS else [])])
def test_exif_orientation_is_undone(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options: dict[str, Any] = {"exif": exif}
    if kind == "TIFF, LZW":
        kind, options = "TIFF", {"compression": "tiff_lzw", "tiffinfo": {ORIENTATION: orientation}}
    if kind == "AVIF":
        options |= {"quality": 100, "subsampling": "4:4:4"}
    data = encode(blocks(), kind, **options)
    same_blocks(decode_array(data), UPRIGHT[orientation](blocks()), within=6)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_undone_after_decoding_at_reduced_size(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(blocks(side=64), "JPEG", exif=exif)
    same_blocks(decode_array(data, needed_side=48), UPRIGHT[orientation](blocks()), within=6)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_is_left_alone(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    same(decode_array(encode(noise(4, 6), "PNG", exif=exif)), noise(4, 6))


@as_served
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
def test_a_damaged_exif_block_says_nothing_about_the_pixels(exif: bytes) -> None:
    data = encode(blocks(), "JPEG", quality=95)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    same_blocks(decode_array(data[:2] + segment + data[2:]), blocks())


# --- transparency


def test_alpha_is_laid_on_white() -> None:
    colours, alpha = noise(9, 11), noise(9, 11, seed=1)[..., 0]
    data = encode(np.dstack([colours, alpha]), "PNG")
    same(decode_array(data), on_white(colours, alpha), within=1)


@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_alpha_of_other_formats_is_laid_on_white(kind: str) -> None:
    colours, alpha = noise(9, 11), noise(9, 11, seed=1)[..., 0]
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    same(decode_array(encode(np.dstack([colours, alpha]), kind, **options)), on_white(colours, alpha), within=1)


def test_grey_with_alpha_is_laid_on_white() -> None:
    grey, alpha = noise(9, 11)[..., 0], noise(9, 11, seed=1)[..., 0]
    data = encode(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), "PNG")
    same(decode_array(data), on_white(grey_to_rgb(grey), alpha), within=1)


def test_wide_colour_with_alpha_keeps_its_high_bytes() -> None:
    samples = np.random.default_rng(0).integers(0, 65536, (6, 5, 4))
    high = samples >> 8
    same(decode_array(png(samples, RGB_ALPHA, 16)), on_white(high[..., :3], high[..., 3]), within=1)


def test_a_palette_with_alphas_is_laid_on_white() -> None:
    palette = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 20, 30)]
    alphas = bytes([0, 128, 255])  # the fourth has none, which means opaque
    indices = np.array([[0, 1, 2, 3], [3, 2, 1, 0]])
    expected = on_white(np.array(palette)[indices], np.array([0, 128, 255, 255])[indices])
    for bits in (2, 4, 8):
        same(decode_array(png(indices, PALETTE, bits, palette=palette, alphas=alphas)), expected, within=1)


def test_a_gif_s_transparent_colour_becomes_white() -> None:
    indices = Image.fromarray(np.array([[0, 1], [2, 1]], dtype=np.uint8)).convert("P")
    indices.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    expected = np.array([[(255, 0, 0), (255, 255, 255)], [(0, 0, 255), (255, 255, 255)]])
    same(decode_array(encode(indices, "GIF", transparency=1)), expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_grey_level_that_stands_for_transparent_becomes_white(bits: int) -> None:
    levels = 2**bits
    samples = np.arange(24).reshape(4, 6) % levels
    for transparent in {0, 1, levels - 1}:
        expected = samples * (255 // (levels - 1))
        expected[samples == transparent] = 255
        same(decode_array(png(samples, GREY, bits, transparent=[transparent])), grey_to_rgb(expected))


def test_a_colour_that_stands_for_transparent_becomes_white() -> None:
    samples = noise(5, 6)
    expected = samples.copy()
    expected[2, 3] = 255
    same(decode_array(png(samples, RGB, 8, transparent=samples[2, 3].tolist())), expected)


def test_a_16_bit_grey_level_that_stands_for_transparent_becomes_white() -> None:
    samples = np.array([[0, 1000, 1001], [30000, 65535, 999]])
    expected = np.rint(samples / 65535 * 255)
    expected[0, 1] = 255
    same(decode_array(png(samples, GREY, 16, transparent=[1000])), grey_to_rgb(expected))


# --- depths and colour spaces


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_of_few_bits_spans_black_to_white(bits: int) -> None:
    samples = np.arange(40).reshape(4, 10) % 2**bits
    same(decode_array(png(samples, GREY, bits)), grey_to_rgb(np.rint(samples * 255 / (2**bits - 1))))


def test_16_bit_grey_png_spans_black_to_white() -> None:
    samples = np.arange(65536).reshape(256, 256)  # every level there is
    same(decode_array(png(samples, GREY, 16)), grey_to_rgb(np.rint(samples / 65535 * 255)))


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
    same(
        decode_array(tiff(samples, order, photometric, orientation=orientation)),
        UPRIGHT[orientation](expected),
        within=0,
    )


def test_16_bit_grey_tiff_is_the_same_when_compressed() -> None:
    samples = np.random.default_rng(0).integers(0, 65536, (7, 9)).astype(np.uint16)
    data = encode(Image.fromarray(samples), "TIFF", compression="tiff_lzw")
    same(decode_array(data), grey_to_rgb(np.rint(samples / 65535 * 255)))


def test_16_bit_colour_keeps_its_high_bytes() -> None:
    samples = np.random.default_rng(0).integers(0, 65536, (6, 5, 3))
    same(decode_array(png(samples, RGB, 16)), samples >> 8)


@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.float32])
def test_32_bits_a_sample_are_refused_because_they_have_no_agreed_white(dtype: Any) -> None:
    mode = "F" if dtype is np.float32 else "I"
    with pytest.raises(UndecodableImage, match="32 bits"):
        decode_array(encode(Image.new(mode, (4, 4), 7), "TIFF"))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_names_colours(bits: int) -> None:
    palette = [(255, 0, 0), (0, 250, 0), (0, 0, 245), (9, 8, 7)][: 2**bits]
    indices = np.arange(20).reshape(4, 5) % len(palette)
    same(decode_array(png(indices, PALETTE, bits, palette=palette)), np.array(palette)[indices])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_one_bit_a_pixel_is_black_and_white(kind: str) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (9, 11)).astype(bool)
    same(decode_array(encode(Image.fromarray(bits), kind)), grey_to_rgb(bits * 255))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "JPEG"])
def test_grey_becomes_three_equal_channels(kind: str) -> None:
    grey = blocks()[..., 0]
    same(
        decode_array(encode(Image.fromarray(grey), kind, quality=95)),
        grey_to_rgb(grey),
        within=3 if kind == "JPEG" else 0,
    )


CMYK = np.array([(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (40, 90, 160, 30)])


def cmyk_picture() -> tuple[Image.Image, npt.NDArray[Any]]:
    inks = CMYK.reshape(2, 3, 4).repeat(16, axis=0).repeat(16, axis=1)
    rgb = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    return Image.frombytes("CMYK", (48, 32), inks.astype(np.uint8).tobytes()), rgb


def test_cmyk_jpeg_becomes_the_colours_of_its_inks() -> None:
    """Pillow writes it as Adobe does: inverted, with a marker."""
    picture, expected = cmyk_picture()
    data = encode(picture, "JPEG", quality=100, subsampling=0)
    assert b"Adobe" in data, "the test's own file has to carry Adobe's marker"
    same(decode_array(data), expected, within=4)


def test_adobe_s_ycck_jpeg_becomes_the_colours_of_its_inks() -> None:
    """Adobe's other way: the inverted inks are coded as YCbCr and K, which the marker's last byte says."""
    picture, expected = cmyk_picture()
    *inks, black = picture.split()
    coded = [plane.point(lambda value: 255 - value) for plane in Image.merge("RGB", inks).convert("YCbCr").split()]
    data = bytearray(encode(Image.merge("CMYK", (*coded, black)), "JPEG", quality=100, subsampling=0))
    marker = data.index(b"Adobe")
    data[marker + 11] = 2  # 0: CMYK, 2: YCCK
    same(decode_array(bytes(data)), expected, within=4)


def test_cmyk_tiff_becomes_the_colours_of_its_inks() -> None:
    picture, expected = cmyk_picture()
    same(decode_array(encode(picture, "TIFF")), expected, within=1)


# --- refusals


def test_no_bytes_are_an_empty_image() -> None:
    with pytest.raises(EmptyImage, match="0 bytes"):
        decode_array(b"")


@pytest.mark.parametrize(
    "data",
    [b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"\x00", b"\xff\xd8", b"RIFF\0\0\0\0WAVE"],
)
def test_what_is_no_image_is_refused_with_the_formats_there_are(data: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="JPEG, PNG, WebP, GIF, BMP, TIFF"):
        decode_array(data)


@pytest.mark.parametrize(
    ("major", "compatible"),
    [(b"heic", [b"mif1", b"heic"]), (b"heix", [b"mif1"]), (b"mif1", [b"mif1", b"heic"]), (b"msf1", [b"hevc"])],
)
def test_heic_is_refused_by_name(major: bytes, compatible: list[bytes]) -> None:
    with pytest.raises(UnsupportedImage, match=r"HEIC images are not read here\. Save the photo as JPEG"):
        decode_array(iso_media(major, *compatible))


@needs_avif
def test_avif_is_told_from_heic_by_any_of_its_brands() -> None:
    assert sniff(iso_media(b"avif")) == "AVIF"
    assert sniff(iso_media(b"mif1", b"miaf", b"avif")) == "AVIF"


@pytest.mark.parametrize("major", [b"isom", b"mp42", b"qt  ", b"\0\0\0\0"])
def test_a_video_is_refused(major: bytes) -> None:
    with pytest.raises(UnsupportedImage, match="video or an unknown kind"):
        decode_array(iso_media(major, b"avc1"))


def test_the_limit_on_bytes_is_inclusive_and_named() -> None:
    data = encode(noise(8, 8), "PNG")
    decode_array(data, Limits(max_bytes=len(data)))
    with pytest.raises(ImageTooLarge, match=f"{len(data)} bytes; the limit is {len(data) - 1} bytes"):
        decode_array(data, Limits(max_bytes=len(data) - 1))


def test_the_limit_on_pixels_is_inclusive_and_named() -> None:
    data = encode(noise(8, 10), "PNG")
    decode_array(data, Limits(max_pixels=80))
    with pytest.raises(ImageTooLarge, match="10 x 8 = 80 pixels; the limit is 79 pixels"):
        decode_array(data, Limits(max_pixels=79))


def test_the_limit_on_sides_is_inclusive_and_named() -> None:
    data = encode(noise(8, 10), "PNG")
    decode_array(data, Limits(max_side=10))
    with pytest.raises(ImageTooLarge, match="10 x 8; the limit for a side is 9 pixels"):
        decode_array(data, Limits(max_side=9))


def test_the_limits_hold_for_the_whole_jpeg_even_if_it_would_be_decoded_smaller() -> None:
    data = encode(blocks(side=64), "JPEG")
    with pytest.raises(ImageTooLarge):
        decode_array(data, Limits(max_pixels=192 * 256 - 1), needed_side=8)


@as_served
def test_a_bomb_is_refused_by_its_header_alone() -> None:
    data = huge_png(10_000)
    assert len(data) < 20_000
    began = time.process_time()
    with pytest.raises(ImageTooLarge, match="10000 x 10000 = 100,000,000 pixels; the limit is 50,000,000"):
        decode_array(data)
    assert time.process_time() - began < 0.1, "a header was enough to refuse it, yet it took as long as decoding"


@pytest.mark.parametrize("side", [10_000, 14_000, 20_000])
@pytest.mark.parametrize("filtered", ["error", "ignore", "default"])
def test_a_bomb_is_refused_whatever_becomes_of_warnings(side: int, filtered: Any) -> None:
    """Pillow warns above 89 million pixels and raises above 179 million."""
    with warnings.catch_warnings(record=True):
        warnings.simplefilter(filtered)
        with pytest.raises(ImageTooLarge, match="pixels"):
            decode_array(huge_png(side))


KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if "AVIF" in FORMATS else [])]


@as_served
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_a_file_that_is_cut_short_is_refused(kind: str, share: float) -> None:
    data = encode(noise(60, 60), kind)
    with pytest.raises(UndecodableImage, match=f"This {kind} image cannot be decoded"):
        decode_array(data[: max(12, int(len(data) * share))])


@pytest.mark.parametrize("needed_side", [None, 8])
def test_bytes_of_another_format_after_a_magic_are_refused(needed_side: int | None) -> None:
    picture = encode(noise(20, 20), "PNG")
    for magic in (b"\xff\xd8\xff", b"GIF89a", b"BM", b"II*\0", b"RIFF\0\0\0\0WEBP"):
        with pytest.raises(UndecodableImage):
            decode_array(magic + picture, needed_side=needed_side)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_checksum_or_missing_palette_is_no_crash(kind: str) -> None:
    data = bytearray(encode(noise(20, 20), kind))
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    try_to_decode(bytes(data))


# --- whatever comes: an array or an ImageError


def try_to_decode(data: bytes, needed_side: int | None = None) -> None:
    limits = Limits(max_pixels=4_000_000)
    try:
        rgb = decode_array(data, limits, needed_side)
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
NEEDED = st.one_of(st.none(), st.integers(1, 300))
VALID = [
    *[encode(noise(17, 23), kind) for kind in KINDS],
    encode(blocks(), "JPEG", progressive=True),
    encode(Image.fromarray(noise(9, 9)).quantize(16), "PNG"),
    encode(Image.fromarray(noise(9, 9)).convert("RGBA"), "TIFF", compression="tiff_lzw"),
    encode(cmyk_picture()[0], "JPEG"),
    png(np.arange(64).reshape(8, 8), GREY, 16, transparent=[5]),
    tiff(np.zeros((8, 8), np.uint16), ">"),
]


@as_served
@settings(max_examples=400, deadline=None)
@given(st.sampled_from(MAGICS), st.binary(max_size=400), NEEDED)
def test_any_bytes_give_an_array_or_an_image_error(magic: bytes, rest: bytes, needed_side: int | None) -> None:
    try_to_decode(magic + rest, needed_side)


@as_served
@settings(max_examples=600, deadline=None)
@given(st.data(), NEEDED)
def test_a_mutated_image_gives_an_array_or_an_image_error(data: st.DataObject, needed_side: int | None) -> None:
    image = bytearray(data.draw(st.sampled_from(VALID)))
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(image) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=8))
        image[start : start + data.draw(st.integers(0, 8))] = patch
    try_to_decode(bytes(image), needed_side)


@as_served
def test_hostile_files_give_an_array_or_an_image_error_in_time() -> None:
    seen, slow = 0, []
    with tarfile.open(shared("hostile-images.tar.gz")) as archive:
        for member in archive:
            if (file := archive.extractfile(member)) is None:
                continue
            data = file.read()
            for needed_side in (None, 256):
                began = time.process_time()
                try_to_decode(data, needed_side)
                if time.process_time() - began > 2:
                    slow.append(member.name)
            seen += 1
    assert seen > 400, "the archive holds fewer files than it should"
    assert not slow, f"these take more than two seconds to decode: {slow}"


def test_a_large_picture_is_laid_on_white_as_a_small_one_is() -> None:
    random = np.random.default_rng(0).integers(0, 256, (1300, 900, 4), np.uint8)
    image = Image.fromarray(random)
    white = Image.new("RGBA", image.size, "white")
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    assert np.array_equal(decode_array(file.getvalue()), np.array(Image.alpha_composite(white, image).convert("RGB")))
