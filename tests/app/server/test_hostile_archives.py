"""Zips that cost time, on a server process: it rejects them cheaply, and other requests are not delayed."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.batch_requests import zipped
from tests.support.encoded_images import encoded
from tests.support.polling import wait_until
from tests.support.processes import TINY_SERVER, server
from tests.support.raw_http import connected, cpu_s, cpu_used_s, exchange, post, pulse, requests_in_flight
from tests.support.raw_zips import EMPTY_FIELDS, directory_entry, raw_zip, zip_of_empty_fields, zip_of_folders

pytestmark = pytest.mark.quiet

ZIP = "application/zip"
FORM = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.zip"\r\n\r\n'
BATCH = "/v1/classify/batch"
SMALL = post(zipped(one=encoded("red")), ZIP, BATCH)
IMAGE = post(encoded("red"), "image/png")


@pytest.fixture(scope="module")
def address(tiny_store: Path) -> Iterator[str]:
    limits = {"APP_MAX_BUFFERED_BYTES": "4000000000", "APP_MAX_BATCH_REQUEST_BYTES": "2000000000"}
    with server(TINY_SERVER, APP_STORE=str(tiny_store), **limits) as process:
        yield process.address()


def zips(archive: bytes, count: int = 64) -> bytes:
    """Return a request with a form of the same zip many times."""
    return post((PART + archive + b"\r\n") * count + b"--b--\r\n", FORM, BATCH)


ATTACKS: dict[str, tuple[int, float, Callable[[], bytes]]] = {
    "extra fields of empty fields": (400, 1.0, lambda: post(zip_of_empty_fields(), ZIP, BATCH)),
    "64 zips of 9,900 folders": (400, 2.0, lambda: zips(zip_of_folders(9_900))),
    "as many folders as allowed": (422, 1.0, lambda: post(zip_of_folders(2_000), ZIP, BATCH)),
    "extra fields as long as allowed": (
        422,
        1.0,
        lambda: post(raw_zip([directory_entry(b"%04d/" % i, EMPTY_FIELDS * 16) for i in range(2_000)]), ZIP, BATCH),
    ),
    "names of thousands of folders": (
        422,
        1.0,
        lambda: post(raw_zip([directory_entry(b"a/" * 30_000 + b".x")] * 4), ZIP, BATCH),
    ),
    "end records only": (400, 1.0, lambda: post(b"PK\x05\x06" * 2_500_000, ZIP, BATCH)),
}


@pytest.mark.parametrize(("status", "max_cpu_s", "attack"), ATTACKS.values(), ids=ATTACKS.keys())
def test_hostile_zip_costs_little(address: str, status: int, max_cpu_s: float, attack: Callable[[], bytes]) -> None:
    request, before = attack(), cpu_s(address)
    with pulse(address) as livez:
        assert exchange(address, request).status == status
    assert livez.stalls < 0.3
    assert cpu_s(address) - before < max_cpu_s


@contextmanager
def eight_clients(address: str, request: bytes) -> Iterator[None]:
    """Send the request again and again from eight clients until the block ends."""
    has_ended = threading.Event()

    def send() -> None:
        while not has_ended.is_set():
            exchange(address, request)

    clients = [threading.Thread(target=send, daemon=True) for _ in range(8)]
    for client in clients:
        client.start()
    try:
        wait_until(lambda: requests_in_flight(address) >= len(clients) // 2)
        yield
    finally:
        has_ended.set()
        for client in clients:
            client.join(60)


def duration_s(address: str, request: bytes) -> float:
    started = time.monotonic()
    assert exchange(address, request).status == 200
    return time.monotonic() - started


@pytest.mark.parametrize(
    "attack", ["extra fields of empty fields", "extra fields as long as allowed", "names of thousands of folders"]
)
def test_hostile_zips_at_a_time_do_not_delay_others_by_seconds(address: str, attack: str) -> None:
    request = ATTACKS[attack][2]()
    with eight_clients(address, request):
        images = [duration_s(address, IMAGE) for _ in range(8)]
        archives = [duration_s(address, SMALL) for _ in range(8)]
    assert statistics.median(images) < 0.3
    assert statistics.median(archives) < 0.8
    assert max(archives) < 2


@pytest.mark.parametrize(
    "attack",
    [
        lambda: zips(zip_of_folders(9_900)),
        # within the limits of this server, it takes several seconds to unpack
        lambda: post(zipped(**{str(number): bytes(12_000_000) for number in range(32)}), ZIP, BATCH),
    ],
    ids=["folders", "bomb"],
)
def test_work_ends_when_the_clients_hang_up(address: str, attack: Callable[[], bytes]) -> None:
    request = attack()
    for _ in range(4):
        with connected(address) as connection:
            connection.sendall(request)
            wait_until(lambda: requests_in_flight(address) > 0)
        wait_until(lambda: requests_in_flight(address) == 0)
    wait_until(lambda: cpu_used_s(address, 0.5) < 0.1, timeout_s=3)
