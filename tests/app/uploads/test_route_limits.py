"""The limit of bytes of each route, for bodies that declare their length and for chunked ones."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from tests.support.asgi import Serve
from tests.support.batch_requests import zipped
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded()
LIMIT = 30_000
PIXELS = {"name": "pixels", "shape": [1, 1, 1, 3], "datatype": "UINT8", "data": [220, 20, 30]}
FORM = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n' + IMAGE + b"\r\n--b--\r\n"


def padded_zip(size: int) -> bytes:
    """Return a zip of an image and of so much metadata, which does not count as an image, that it has this size."""
    archive = zipped(a=IMAGE)
    comment = size - len(archive)
    return archive[:-2] + comment.to_bytes(2, "little") + bytes(comment)


BODIES: dict[str, tuple[str, str, Callable[[int], bytes]]] = {
    "image": ("/v1/classify", "image/png", lambda size: IMAGE + bytes(size - len(IMAGE))),
    "image to embed": ("/v1/embed", "image/png", lambda size: IMAGE + bytes(size - len(IMAGE))),
    "image for TorchServe": ("/predictions/colours", "image/png", lambda size: IMAGE + bytes(size - len(IMAGE))),
    "zip": ("/v1/classify/batch", "application/zip", padded_zip),
    "form": ("/v1/classify/batch", "multipart/form-data; boundary=b", lambda size: FORM + bytes(size - len(FORM))),
    "tensors": (
        "/v2/models/colours/infer",
        "application/json",
        lambda size: json.dumps({"inputs": [PIXELS]}).encode().ljust(size),
    ),
}


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize("kind", BODIES)
async def test_body_of_each_route_may_reach_its_limit(serve: Serve, kind: str, is_chunked: bool) -> None:
    path, content_type, body = BODIES[kind]

    async def chunks(data: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(data), 7_000):
            yield data[start : start + 7_000]

    async def send(client: httpx.AsyncClient, size: int) -> httpx.Response:
        data = body(size)
        assert len(data) == size
        content = chunks(data) if is_chunked else data
        return await client.post(path, content=content, headers={"Content-Type": content_type})

    is_single = path in ("/v1/classify", "/v1/embed", "/predictions/colours")
    limits = {"max_body_bytes": LIMIT} if is_single else {"max_batch_request_bytes": LIMIT}
    async with serve(**limits) as client:
        accepted, rejected = await send(client, LIMIT), await send(client, LIMIT + 1)
    assert accepted.status_code == 200, accepted.text
    assert (rejected.status_code, f"The body exceeds the limit of {LIMIT:,} bytes" in rejected.text) == (413, True)
