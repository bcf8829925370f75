"""`POST /v1/classify/batch`."""

from __future__ import annotations

import asyncio
import resource
import zipfile
from contextlib import suppress
from io import BytesIO
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import MalformedBody
from app.uploads import zips
from tests.app.conftest import Serve, eventually
from tests.app.inference.test_load import queued, sample
from tests.support.encoded_images import HEIC, encoded
from tests.support.tiny_app import ColourEngine

pytestmark = pytest.mark.anyio

COLOURS = ["red", "green", "blue", "yellow"]
Files = list[tuple[str, tuple[str, bytes]]]


def files(*pictures: bytes, field: str = "files") -> Files:
    return [(field, (f"{number}.png", data)) for number, data in enumerate(pictures)]


def zipped(**entries: bytes) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def zipped_by(method: int, data: bytes) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("a", data)
    return buffer.getvalue()


def _without_a_name() -> bytes:
    """A zip whose one entry is called nothing."""
    return zipped_by(zipfile.ZIP_STORED, b"x").replace(b"a", b"\x00")


_NO_NAME = _without_a_name()


async def send(client: httpx.AsyncClient, parts: Files, **query: Any) -> httpx.Response:
    return await client.post("/v1/classify/batch", files=parts, params=query)


async def send_zip(client: httpx.AsyncClient, data: bytes) -> httpx.Response:
    return await client.post("/v1/classify/batch", content=data, headers={"Content-Type": "application/zip"})


def labels(response: httpx.Response) -> list[str]:
    return [item["result"]["predictions"][0]["label"] for item in response.json()["items"]]


async def test_each_image_gets_the_answer_that_it_gets_alone(client: httpx.AsyncClient) -> None:
    pictures = [encoded(colour) for colour in COLOURS]
    response = await send(client, files(*pictures), top_k=2)
    assert response.status_code == 200
    assert set(response.json()) == {"request_id", "items"}
    for number, (item, picture) in enumerate(zip(response.json()["items"], pictures, strict=True)):
        alone = (await client.post("/v1/classify", content=picture, params={"top_k": 2})).json()
        assert set(item) == {"index", "filename", "result"}
        assert (item["index"], item["filename"]) == (number, f"{number}.png")
        assert set(item["result"]) == {"model", "version", "predictions"}
        assert item["result"]["model"] == alone["model"]
        for ours, theirs in zip(item["result"]["predictions"], alone["predictions"], strict=True):
            assert ours["label"] == theirs["label"]
            assert ours["score"] == pytest.approx(theirs["score"], abs=1e-5)


async def test_images_of_one_request_share_batches(client: httpx.AsyncClient, engine: ColourEngine) -> None:
    engine.go.clear()
    request = asyncio.create_task(send(client, files(*[encoded("red")] * 20)))
    await asyncio.to_thread(engine.began.acquire)
    await queued(client, 20 - engine.sizes[0])
    engine.go.set()
    assert len(labels(await request)) == 20
    assert sum(engine.sizes) == 20
    assert len(engine.sizes) <= 2


async def test_an_image_that_fails_does_not_touch_the_others(client: httpx.AsyncClient) -> None:
    response = await send(client, files(encoded("red"), b"hello", encoded("blue")[:200], b"", HEIC, encoded("blue")))
    assert response.status_code == 200
    items = response.json()["items"]
    assert [item.get("error", {}).get("status") for item in items] == [None, 415, 422, 400, 415, None]
    assert [item["error"]["code"] for item in items if "error" in item] == [
        "unsupported_format",
        "undecodable_image",
        "empty_image",
        "unsupported_format",
    ]
    assert items[5]["result"]["predictions"][0]["label"] == "blue"
    assert all("result" not in item for item in items if "error" in item)


async def test_it_is_200_even_if_every_image_failed(client: httpx.AsyncClient) -> None:
    response = await send(client, files(b"a", b"b"))
    assert (response.status_code, len(response.json()["items"])) == (200, 2)


async def test_several_models_answer_for_each_image(client: httpx.AsyncClient) -> None:
    items = (await send(client, files(encoded("red"), encoded("blue")), model="tones,far")).json()["items"]
    for item, colour in zip(items, ("red", "blue"), strict=True):
        assert [result["model"] for result in item["results"]] == ["tones", "far"]
        assert all(result["predictions"][0]["label"] == colour for result in item["results"])


async def test_a_zip_holds_images_in_folders(client: httpx.AsyncClient) -> None:
    entries = {
        "a/red.png": encoded("red"),
        "__MACOSX/a/._red.png": b"x",
        "b/.DS_Store": b"x",
        "b/blue.png": encoded("blue"),
    }
    for response in (
        await send_zip(client, zipped(**entries)),
        await send(client, [("files", ("all.zip", zipped(**entries)))]),
    ):
        assert labels(response) == ["red", "blue"]
        assert [item["filename"] for item in response.json()["items"]] == ["a/red.png", "b/blue.png"]


async def test_zips_and_images_may_be_mixed(client: httpx.AsyncClient) -> None:
    parts = files(encoded("red"), zipped(one=encoded("green"), two=encoded("blue")), encoded("yellow"))
    assert labels(await send(client, parts)) == COLOURS


@pytest.mark.parametrize("as_zip", [True, False])
async def test_more_images_than_the_limit_are_413_which_names_it(serve: Serve, as_zip: bool) -> None:
    async with serve(max_images=3) as client:
        fits, too_many = [
            await send_zip(client, zipped(**dict.fromkeys("abcd"[:count], encoded())))
            if as_zip
            else await send(client, files(*[encoded()] * count))
            for count in (3, 4)
        ]
        assert fits.status_code == 200
        assert (too_many.status_code, too_many.json()["code"]) == (413, "too_many_images")
        assert "is 3" in too_many.json()["detail"]


async def test_the_images_of_several_zips_count_together(serve: Serve) -> None:
    async with serve(max_images=3) as client:
        both = files(zipped(a=encoded(), b=encoded()), zipped(c=encoded(), d=encoded()))
        response = await send(client, both)
        assert (response.status_code, response.json()["code"]) == (413, "too_many_images")


async def test_a_zip_that_unpacks_to_more_than_the_limit_is_413(serve: Serve) -> None:
    async with serve(max_batch_request_bytes=100_000, max_body_bytes=80_000) as client:
        response = await send_zip(client, zipped(a=bytes(60_000), b=bytes(60_000)))
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
        assert "100,000 bytes" in response.json()["detail"]
        (item,) = (await send_zip(client, zipped(a=bytes(90_000)))).json()["items"]
        assert (item["error"]["status"], item["error"]["code"]) == (413, "image_too_large")


async def test_a_zip_bomb_is_unpacked_no_further_than_the_limit(serve: Serve) -> None:
    async with serve(max_batch_request_bytes=1_000_000, max_body_bytes=900_000) as client:
        bomb = zipped(a=bytes(200_000_000))
        assert len(bomb) < 300_000
        (item,) = (await asyncio.wait_for(send_zip(client, bomb), 10)).json()["items"]
        assert item["error"]["status"] == 413


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"", "application/zip", 400, "empty_body"),
        (b"PK\x03\x04 broken", "application/zip", 400, "broken_body"),
        (zipped(a=encoded())[:-30], "application/zip", 400, "broken_body"),
        (zipped(), "application/zip", 422, "missing_field"),
        (zipped_by(zipfile.ZIP_BZIP2, bytes(400_000_000)), "application/zip", 400, "broken_body"),
        (zipped_by(zipfile.ZIP_LZMA, b"x"), "application/zip", 400, "broken_body"),
        (_NO_NAME, "application/zip", 200, ""),
        (b"PK\x03\x04" + b"PK\x01\x02" * 10_001, "application/zip", 400, "broken_body"),
        (b"x", "image/png", 415, "unsupported_content_type"),
        (b"x", "multipart/form-data; boundary=b", 400, "broken_body"),
        (b"--b--\r\n", "multipart/form-data; boundary=b", 422, "missing_field"),
    ],
)
async def test_what_is_no_batch_is_a_clear_error(
    client: httpx.AsyncClient, content: bytes, kind: str, status: int, code: str
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    response = await client.post("/v1/classify/batch", content=content, headers={"Content-Type": kind})
    assert (response.status_code, response.json().get("code", "")) == (status, code)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes of memory for an error"


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("", "rötlich.png".encode()),
        ("; charset=UTF-8", "rötlich.png".encode()),
        ("; charset=cp1252", b"r\xf6tlich.png"),
    ],
)
async def test_names_are_read_in_the_charsets_that_browsers_send(
    client: httpx.AsyncClient, charset: str, name: bytes
) -> None:
    response = await send_form(client, charset, name)
    assert [item["filename"] for item in response.json()["items"]] == ["rötlich.png"]
    assert labels(response) == ["red"]


@pytest.mark.parametrize("charset", ["utf-7", "utf-16", "idna", "zlib", "unknown", '""'])
async def test_in_any_other_charset_a_form_is_refused(client: httpx.AsyncClient, charset: str) -> None:
    response = await send_form(client, f"; charset={charset}", b"+2AA-.png")
    assert (response.status_code, response.json()["code"]) == (400, "broken_body")
    assert "UTF-8" in response.json()["detail"]


async def send_form(client: httpx.AsyncClient, charset: str, name: bytes) -> httpx.Response:
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n' % name
    return await client.post(
        "/v1/classify/batch",
        content=head + encoded("red") + b"\r\n--b--\r\n",
        headers={"Content-Type": f"multipart/form-data; boundary=b{charset}"},
    )


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_zip_that_was_tampered_with_is_read_or_refused(data: st.DataObject) -> None:
    archive = bytearray(zipped(**{"a/one.png": b"one" * 50, "two.png": b"two"}))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(archive) - 1))
        archive[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 20))
    with suppress(MalformedBody):
        found = zips.extract_images(bytes(archive[: len(archive) - cut]), 3, 1000, 1500, lambda _: None)
        assert len(found) <= 4
        assert all(len(content) <= 1001 for _, content in found)


async def test_a_client_that_hangs_up_takes_back_every_image(serve: Serve, engine: ColourEngine) -> None:
    async with serve(max_batch=2, queue_size=30) as client:
        engine.go.clear()
        request = asyncio.create_task(send(client, files(*[encoded("red")] * 20)))
        await asyncio.to_thread(engine.began.acquire)
        await queued(client, 20 - engine.sizes[0])
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        await queued(client, 0)
        engine.go.set()

        async def all_places_are_free() -> bool:  # once the batch that was running has ended
            return (await send(client, files(*[encoded("red")] * 30))).status_code == 200

        await asyncio.wait_for(eventually(all_places_are_free), 20)
        assert sum(engine.sizes) <= 2 + 30


async def test_images_are_counted_when_they_are_admitted(serve: Serve, engine: ColourEngine) -> None:
    async with serve(queue_size=4) as client:
        engine.go.clear()
        first = asyncio.create_task(send(client, files(*[encoded("red")] * 3)))
        await asyncio.to_thread(engine.began.acquire)
        refused = await send(client, files(encoded("red"), encoded("red")))
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert int(refused.headers["Retry-After"]) >= 1
        engine.go.set()
        assert labels(await first) == ["red"] * 3
        never = await send(client, files(*[encoded("red")] * 5))
        assert (never.status_code, never.json()["code"]) == (413, "too_many_images")
        assert (await send(client, files(*[encoded("red")] * 4))).status_code == 200


async def test_a_deadline_gives_up_what_is_not_done(serve: Serve, engine: ColourEngine) -> None:
    async with serve(max_batch=1) as client:
        engine.go.clear()
        request = asyncio.create_task(
            client.post(
                "/v1/classify/batch",
                files=files(encoded("red"), encoded("red")),
                headers={"X-Request-Timeout-Ms": "200"},
            )
        )
        response = await asyncio.wait_for(request, 10)
        engine.go.set()
        assert response.status_code == 200
        assert [item["error"]["code"] for item in response.json()["items"]] == ["deadline_exceeded"] * 2
        assert await sample(client, 'classifier_queue_depth{extractor="near_net"}') == 0
