"""Too little memory for a picture: whoever sent it comes again later, and nobody else hears of it."""

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
LEFT_BYTES = 100_000_000


def large(side: int) -> bytes:
    """Kilobytes that become, of 7,000 pixels a side, 200 MB."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "blue").save(buffer, "PNG")
    return buffer.getvalue()


def leave_little_memory(pid: int) -> None:
    """Allow a process as much address space as it has, and less than the large picture needs."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + LEFT_BYTES
    resource.prlimit(pid, resource.RLIMIT_AS, (most, most))


def test_a_picture_for_which_there_is_no_memory_comes_again_later(tiny_store: Path) -> None:
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store)) as started:
        picture, address = large(SIDE), started.address()
        with httpx.Client(base_url=address, timeout=60) as client:
            parts = [("files", SMALL), ("files", picture), ("files", SMALL)]
            assert client.post("/v1/classify", content=large(SIDE // 3)).status_code == 200  # starts every process
            for process in children(started.process.pid):
                leave_little_memory(process)
            alone = client.post("/v1/classify", content=picture)
            batch = client.post("/v1/classify/batch", files=parts)
            page = client.post("/", files={"file": picture})
            after = client.post("/v1/classify", content=SMALL)
    assert (alone.status_code, alone.json()["code"], alone.headers["Retry-After"]) == (503, "overloaded", "1")
    assert batch.status_code == 200
    first, refused, last = batch.json()["items"]
    assert [each["result"]["predictions"][0]["label"] for each in (first, last)] == ["red", "red"]
    assert (refused["error"]["status"], refused["error"]["code"]) == (503, "overloaded")
    assert (page.status_code, "too little memory" in page.text) == (503, True)
    assert after.status_code == 200
    assert "MemoryError" in started.log
    assert "has ended" not in started.log, "a process ended over it"
