"""Files that `curl -d @photo` has mangled: it removes carriage returns, line feeds and zero bytes."""

from __future__ import annotations

import random

import pytest

from models.decoding.errors import ImageError, UndecodableImage, UnsupportedImage
from models.decoding.image import FORMATS
from models.preprocess import decode_array
from tests.support.heic import grid, heic
from tests.support.images import blocks, encode, noise

KINDS = [name for name in FORMATS if name != "HEIC"]


def curl_d(data: bytes) -> bytes:
    return data.translate(None, b"\r\n\0")


def message_of(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode_array(data)
    return str(caught.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [16, 100, 700])
def test_advice_names_the_option_that_works(kind: str, side: int) -> None:
    assert "--data-binary" in message_of(curl_d(encode(noise(side, side), kind)))


@pytest.mark.parametrize("data", [heic("blocks"), heic("alpha"), grid(2, 2)], ids=["one image", "alpha", "grid"])
def test_advice_is_given_for_heic(data: bytes) -> None:
    assert "--data-binary" in message_of(curl_d(data))


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}, {"comment": b"a\nb"}], ids=str
)
def test_advice_is_given_for_jpegs_of_any_structure(options: dict[str, object]) -> None:
    assert "--data-binary" in message_of(curl_d(encode(blocks(side=64), "JPEG", **options)))


def test_short_png_is_recognized_by_its_signature() -> None:
    data = curl_d(encode(noise(1, 1), "PNG"))
    assert data.startswith(b"\x89PNG\x1a")
    assert "--data-binary" in message_of(data)
    assert "--data-binary" in message_of(b"\x89PNG\x1a")


def test_known_and_unknown_formats_keep_their_errors() -> None:
    with pytest.raises(UndecodableImage, match="--data-binary"):
        decode_array(curl_d(encode(noise(60, 60), "JPEG")))
    with pytest.raises(UnsupportedImage, match="--data-binary"):
        decode_array(curl_d(encode(noise(60, 60), "PNG")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_truncated_image_gets_no_such_advice(kind: str) -> None:
    data = encode(noise(60, 60), kind)
    assert "--data-binary" not in message_of(data[: len(data) // 2])


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'>" + b"<g>" * 100 + b"</svg>",
        "Ein längerer Text ohne Zeilenumbruch, größer als manches Bild. ".encode() * 10,
        b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB" * 20,
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\x10JFIF\x01",
    ],
    ids=["word", "SVG", "text", "base64", "start of a JPEG", "first segment of a JPEG"],
)
def test_text_and_short_files_get_no_such_advice(data: bytes) -> None:
    assert "--data-binary" not in message_of(data)


def test_binary_file_with_any_of_these_bytes_gets_no_such_advice() -> None:
    random_bytes = bytes(random.Random(0).choices([byte for byte in range(256) if byte not in b"\r\n\0"], k=500))
    assert "--data-binary" in message_of(random_bytes)
    for byte in (b"\r", b"\n", b"\0"):
        assert "--data-binary" not in message_of(random_bytes + byte)
