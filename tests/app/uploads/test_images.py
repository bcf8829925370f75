"""Bodies of several images: forms, zips, their limits and their errors."""

from __future__ import annotations

import asyncio
import resource
import zipfile
from collections.abc import Callable
from io import BytesIO

import httpx
import pytest

from tests.support.asgi import Serve
from tests.support.batch_requests import image_files, labels, send_batch, send_zip, zipped
from tests.support.encoded_images import encoded
from tests.support.raw_zips import zip_of_empty_fields, zip_of_folders

pytestmark = pytest.mark.anyio


def bzip2_bomb() -> bytes:
    """Return a zip of 400 MB of zeros, written in parts so that it takes little memory here."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive, archive.open("a", "w") as entry:
        for _ in range(400):
            entry.write(bytes(1_000_000))
    return buffer.getvalue()


def zip_with_method(method: int, data: bytes) -> bytes:
    """Return a zip of one entry named `a`, compressed with this method."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("a", data)
    return buffer.getvalue()


UNNAMED_ENTRY = zip_with_method(zipfile.ZIP_STORED, b"x").replace(b"a", b"\x00")


async def test_zip_may_have_folders_and_the_clutter_of_file_managers(client: httpx.AsyncClient) -> None:
    entries = {
        "a/red.png": encoded("red"),
        "__MACOSX/a/._red.png": b"x",
        "b/.DS_Store": b"x",
        "b/blue.png": encoded("blue"),
    }
    for response in (
        await send_zip(client, zipped(**entries)),
        await send_batch(client, [("files", ("all.zip", zipped(**entries)))]),
    ):
        assert labels(response) == ["red", "blue"]
        assert [item["filename"] for item in response.json()["items"]] == ["a/red.png", "b/blue.png"]


@pytest.mark.parametrize(
    "name",
    [
        "p/._a.jpg",
        "__MACOSX/a.jpg",
        "p/__MACOSX/._a.jpg",
        "p/thumbs.db",
        "Thumbs.db",
        "p/DESKTOP.INI",
        "p/.picasa.ini",
        "p/ehthumbs.db",
        ".hidden/a.jpg",
        "p\\Thumbs.db",
    ],
)
async def test_metadata_of_file_managers_in_a_zip_does_not_count(client: httpx.AsyncClient, name: str) -> None:
    response = await send_zip(client, zipped(**{"p/red.png": encoded("red"), name: b"\0\5\x16\7"}))
    assert [item["filename"] for item in response.json()["items"]] == ["p/red.png"]


async def test_metadata_does_not_count_towards_the_limit_of_images(serve: Serve) -> None:
    entries = {name: encoded() for number in range(3) for name in (f"p/{number}.png", f"p/._{number}.png")}
    async with serve(max_images=3) as client:
        assert (await send_zip(client, zipped(**entries))).status_code == 200


def zip_with_raw_name(name: bytes) -> bytes:
    """Return a zip of one image whose name has these bytes and no flag for UTF-8."""
    placeholder = "x" * len(name)
    return zipped(**{placeholder: encoded("red")}).replace(placeholder.encode(), name)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("Käfer/größe.jpg".encode(), "Käfer/größe.jpg"),
        ("Ka\u0308fer.jpg".encode(), "Ka\u0308fer.jpg"),
        ("größe.jpg".encode("cp437"), "größe.jpg"),
        (b"folder\\a.jpg", "folder/a.jpg"),
    ],
    ids=["UTF-8", "decomposed UTF-8", "cp437", "backslash"],
)
async def test_name_in_a_zip_is_utf8_if_valid_and_else_cp437(client: httpx.AsyncClient, raw: bytes, name: str) -> None:
    (item,) = (await send_zip(client, zip_with_raw_name(raw))).json()["items"]
    assert (item["filename"], item["result"]["predictions"][0]["label"]) == (name, "red")


def with_changed_byte(archive: bytes, content: bytes) -> bytes:
    """Change a byte of an entry that is stored uncompressed."""
    position = archive.index(content) + len(content) // 2
    return archive[:position] + bytes([archive[position] ^ 255]) + archive[position + 1 :]


def stored(**entries: bytes) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def with_lzma(**entries: bytes) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data, zipfile.ZIP_LZMA if name == "b" else zipfile.ZIP_STORED)
    return buffer.getvalue()


@pytest.mark.parametrize("damage", ["changed byte", "LZMA"])
async def test_damaged_file_of_a_zip_is_the_error_of_that_file(client: httpx.AsyncClient, damage: str) -> None:
    entries = {"a": encoded("red"), "b": encoded("green"), "c": encoded("blue")}
    data = with_lzma(**entries) if damage == "LZMA" else with_changed_byte(stored(**entries), entries["b"])
    items = (await send_zip(client, data)).json()["items"]
    assert [item["filename"] for item in items] == ["a", "b", "c"]
    assert ["result" in item for item in items] == [True, False, True]
    assert (items[1]["error"]["status"], items[1]["error"]["code"]) == (400, "broken_body")


async def test_zip_whose_files_are_all_damaged_has_an_error_for_each(client: httpx.AsyncClient) -> None:
    response = await send_zip(client, zip_with_method(zipfile.ZIP_LZMA, b"x"))
    assert response.status_code == 200
    assert [item["error"]["code"] for item in response.json()["items"]] == ["broken_body"]


async def test_form_may_mix_zips_and_images(client: httpx.AsyncClient) -> None:
    parts = image_files(encoded("red"), zipped(one=encoded("green"), two=encoded("blue")), encoded("yellow"))
    assert labels(await send_batch(client, parts)) == ["red", "green", "blue", "yellow"]


@pytest.mark.parametrize("as_zip", [True, False])
async def test_more_images_than_the_limit_are_413(serve: Serve, as_zip: bool) -> None:
    async with serve(max_images=3) as client:
        accepted, rejected = [
            await send_zip(client, zipped(**dict.fromkeys("abcd"[:count], encoded())))
            if as_zip
            else await send_batch(client, image_files(*[encoded()] * count))
            for count in (3, 4)
        ]
        assert accepted.status_code == 200
        assert (rejected.status_code, rejected.json()["code"]) == (413, "too_many_images")
        assert "at most 3" in rejected.json()["detail"]


async def test_images_of_several_zips_count_together(serve: Serve) -> None:
    async with serve(max_images=3) as client:
        zips = image_files(zipped(a=encoded(), b=encoded()), zipped(c=encoded(), d=encoded()))
        response = await send_batch(client, zips)
        assert (response.status_code, response.json()["code"]) == (413, "too_many_images")


async def test_directories_of_several_zips_count_together(client: httpx.AsyncClient) -> None:
    files = image_files(zipped(a=encoded("red")), zip_of_folders(999), zip_of_folders(1_000))
    assert labels(await send_batch(client, files)) == ["red"]
    response = await send_batch(client, [*files, *image_files(zipped(a=encoded()))])
    assert (response.status_code, response.json()["code"]) == (400, "broken_body")
    assert "2,000 entries in total" in response.json()["detail"]


async def test_zip_may_have_several_entries_for_each_allowed_image(serve: Serve) -> None:
    async with serve(max_images=2_000) as client:
        assert (await send_zip(client, zip_of_folders(8_000))).status_code == 422
        assert (await send_zip(client, zip_of_folders(8_001))).status_code == 400


async def test_zip_that_unpacks_beyond_the_limit_is_413(serve: Serve) -> None:
    async with serve(max_batch_request_bytes=100_000, max_body_bytes=80_000) as client:
        response = await send_zip(client, zipped(a=bytes(60_000), b=bytes(60_000)))
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
        assert "100,000 bytes" in response.json()["detail"]
        (item,) = (await send_zip(client, zipped(a=bytes(90_000)))).json()["items"]
        assert (item["error"]["status"], item["error"]["code"]) == (413, "image_too_large")


async def test_zip_bomb_is_unpacked_no_further_than_the_limit(serve: Serve) -> None:
    async with serve(max_batch_request_bytes=1_000_000, max_body_bytes=900_000) as client:
        bomb = zipped(a=bytes(200_000_000))
        assert len(bomb) < 300_000
        (item,) = (await asyncio.wait_for(send_zip(client, bomb), 10)).json()["items"]
        assert item["error"]["status"] == 413


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"", "application/zip", 400, "empty_body"),
        (b"PK\x03\x04 broken", "application/zip", 400, "broken_body"),
        (zipped(a=encoded())[:-30], "application/zip", 400, "broken_body"),
        (zipped(), "application/zip", 422, "missing_field"),
        (bzip2_bomb, "application/zip", 200, ""),
        (UNNAMED_ENTRY, "application/zip", 200, ""),
        (zip_of_folders(2_001), "application/zip", 400, "broken_body"),
        (zip_of_folders(2_000), "application/zip", 422, "missing_field"),
        (zip_of_empty_fields, "application/zip", 400, "broken_body"),
        (b"x", "image/png", 415, "unsupported_content_type"),
        (b"x", "multipart/form-data; boundary=b", 400, "broken_body"),
        (b"--b--\r\n", "multipart/form-data; boundary=b", 422, "missing_field"),
    ],
)
async def test_malformed_batch_gets_its_error_in_bounded_memory(
    client: httpx.AsyncClient, content: bytes | Callable[[], bytes], content_type: str, status: int, code: str
) -> None:
    content = content() if callable(content) else content  # a zip that is slow to build is built only here
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    response = await client.post("/v1/classify/batch", content=content, headers={"Content-Type": content_type})
    assert (response.status_code, response.json().get("code", "")) == (status, code)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "100 MB of memory for an error"


async def send_form(client: httpx.AsyncClient, charset: str, name: bytes) -> httpx.Response:
    part_head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n' % name
    return await client.post(
        "/v1/classify/batch",
        content=part_head + encoded("red") + b"\r\n--b--\r\n",
        headers={"Content-Type": f"multipart/form-data; boundary=b{charset}"},
    )


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("", "rötlich.png".encode()),
        ("; charset=UTF-8", "rötlich.png".encode()),
        ("; charset=cp1252", b"r\xf6tlich.png"),
    ],
)
async def test_file_names_are_decoded_in_charsets_that_browsers_send(
    client: httpx.AsyncClient, charset: str, name: bytes
) -> None:
    response = await send_form(client, charset, name)
    assert [item["filename"] for item in response.json()["items"]] == ["rötlich.png"]
    assert labels(response) == ["red"]


@pytest.mark.parametrize("charset", ["utf-7", "utf-16", "idna", "zlib", "unknown", '""'])
async def test_form_in_any_other_charset_is_rejected(client: httpx.AsyncClient, charset: str) -> None:
    response = await send_form(client, f"; charset={charset}", b"+2AA-.png")
    assert (response.status_code, response.json()["code"]) == (400, "broken_body")
    assert "UTF-8" in response.json()["detail"]
