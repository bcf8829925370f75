"""Requests to `POST /v1/classify/batch`, and the labels in their responses."""

from __future__ import annotations

import zipfile
from io import BytesIO
from typing import Any

import httpx

Files = list[tuple[str, tuple[str, bytes]]]


def image_files(*images: bytes, field: str = "files") -> Files:
    """Return the parts of a form; the files are named 0.png, 1.png and so on."""
    return [(field, (f"{number}.png", data)) for number, data in enumerate(images)]


def zipped(**entries: bytes) -> bytes:
    """Return a zip of these entries."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


async def send_batch(client: httpx.AsyncClient, parts: Files, **query: Any) -> httpx.Response:
    return await client.post("/v1/classify/batch", files=parts, params=query)


async def send_zip(client: httpx.AsyncClient, data: bytes) -> httpx.Response:
    return await client.post("/v1/classify/batch", content=data, headers={"Content-Type": "application/zip"})


def labels(response: httpx.Response) -> list[str]:
    """Return the likeliest label of each image."""
    return [item["result"]["predictions"][0]["label"] for item in response.json()["items"]]
