"""Too little memory for an image: only that image is rejected, and may be sent again later."""

from __future__ import annotations

import io
import resource
from pathlib import Path

import httpx
from PIL import Image

from tests.support.decode_worker import children
from tests.support.encoded_images import encoded
from tests.support.processes import server

SMALL = encoded("red")
SIDE = 7000
FREE_BYTES = 100_000_000


def large(side: int) -> bytes:
    """A PNG of a few kilobytes that is 200 MB when decoded, if it has 7,000 pixels a side."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "blue").save(buffer, "PNG")
    return buffer.getvalue()


def leave_little_memory(pid: int) -> None:
    """Limit a process to its current address space and less than the large image needs."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + FREE_BYTES
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))


def test_image_that_does_not_fit_in_memory_is_rejected_alone(tiny_store: Path) -> None:
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store)) as started:
        image, address = large(SIDE), started.address()
        with httpx.Client(base_url=address, timeout=60) as client:
            parts = [("files", SMALL), ("files", image), ("files", SMALL)]
            for side in (SIDE // 3, SIDE * 3 // 5):  # a medium and a large image start all workers
                assert client.post("/v1/classify", content=large(side)).status_code == 200
            for process in children(started.process.pid):
                leave_little_memory(process)
            alone = client.post("/v1/classify", content=image)
            batch = client.post("/v1/classify/batch", files=parts)
            page = client.post("/", files={"file": image})
            after = client.post("/v1/classify", content=SMALL)
    assert (alone.status_code, alone.json()["code"], alone.headers["Retry-After"]) == (503, "overloaded", "1")
    assert batch.status_code == 200
    first, rejected, last = batch.json()["items"]
    assert [item["result"]["predictions"][0]["label"] for item in (first, last)] == ["red", "red"]
    assert (rejected["error"]["status"], rejected["error"]["code"]) == (503, "overloaded")
    assert (page.status_code, "out of memory" in page.text) == (503, True)
    assert after.status_code == 200
    assert "MemoryError" in started.log
    assert "has ended" not in started.log, "a worker process ended"
