"""Broken and hostile files of Pillow, image-rs and AFL, in every form of a body, from several clients at once."""

from __future__ import annotations

import base64
import json
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.encoded_images import encoded
from tests.support.machine import retry_while_machine_is_busy
from tests.support.paths import ROOT
from tests.support.polling import wait_until
from tests.support.processes import get, server
from tests.support.raw_http import exchange, post

ARCHIVE = ROOT.parent / "shared" / "data" / "hostile-images.tar.gz"
CLIENTS = 8
MAX_RESPONSE_S = 2.0
MAX_GROWTH_BYTES = 50_000_000
IDLE_S = 1.5  # after half a second without a request, freed memory is returned to the system

pytestmark = pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"{ARCHIVE.name} does not exist")


def as_form(data: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    return post(head + data + b"\r\n--b--\r\n", "multipart/form-data; boundary=b")


def as_body(data: bytes) -> bytes:
    return post(data, "application/octet-stream")


def as_json(data: bytes) -> bytes:
    return post(json.dumps({"image": base64.b64encode(data).decode()}).encode(), "application/json")


FORMS: tuple[Callable[[bytes], bytes], ...] = (as_form, as_body, as_json)


@dataclass(frozen=True)
class Outcome:
    """The response to a file in one form of a body."""

    file: str
    form: Callable[[bytes], bytes]
    status: int
    code: str
    retry_after: str | None
    seconds: float

    @property
    def is_deliberate(self) -> bool:
        """True if the request was rejected and may be sent again later."""
        return self.status == 503 and int(self.retry_after or 0) >= 1


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    with tarfile.open(ARCHIVE) as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        return {name: file.read() for name, file in files.items() if file}


def send(address: str, file: str, form: Callable[[bytes], bytes], data: bytes) -> Outcome:
    began = time.monotonic()
    response = exchange(address, form(data))
    seconds = time.monotonic() - began
    return Outcome(file, form, response.status, response.json.get("code", ""), response.headers["Retry-After"], seconds)


def send_all(
    address: str, jobs: Sequence[tuple[str, Callable[[bytes], bytes]]], files: Mapping[str, bytes]
) -> list[Outcome]:
    """Send all jobs from several clients at once."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(lambda job: send(address, job[0], job[1], files[job[0]]), jobs))


def too_slow(outcomes: list[Outcome]) -> list[Outcome]:
    """Responses that took too long, including the wait in the queue."""
    return [outcome for outcome in outcomes if outcome.seconds > MAX_RESPONSE_S]


def resident_bytes(address: str) -> float:
    lines = get(address, "/metrics").body.splitlines()
    return float(next(line for line in lines if line.startswith(b"process_resident_memory_bytes")).split()[1])


@pytest.mark.quiet
@pytest.mark.timeout(600)  # it takes seconds, except on a busy machine
@pytest.mark.parametrize(
    ("rounds", "forms"),
    [
        pytest.param(1, 1, id="every file in one form"),
        pytest.param(2, len(FORMS), id="every file in every form, twice", marks=pytest.mark.slow),
    ],
)
def test_no_file_hurts_the_server(tiny_store: Path, files: dict[str, bytes], rounds: int, forms: int) -> None:
    assert len(files) > 400
    rotations = [FORMS[i:] + FORMS[:i] for i in range(len(FORMS))]
    jobs = [(file, form) for i, file in enumerate(files) for form in rotations[i % len(rotations)][:forms]] * rounds
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store)) as process:
        address = process.address()
        before = resident_bytes(address)
        outcomes = retry_while_machine_is_busy(
            lambda: send_all(address, jobs, files), lambda outcomes: not too_slow(outcomes)
        )
        assert [outcome for outcome in outcomes if outcome.status >= 500 and not outcome.is_deliberate] == []
        assert {outcome.status for outcome in outcomes} <= {200, 400, 413, 415, 422, 503}
        processed = {(outcome.file, outcome.status, outcome.code) for outcome in outcomes if outcome.status != 503}
        assert len(processed) == len(files), "every form of a body has the same response"
        assert too_slow(outcomes) == []
        wait_until(lambda: resident_bytes(address) - before < MAX_GROWTH_BYTES)
        assert get(address, "/readyz").status == 200
        assert exchange(address, as_body(encoded("green"))).json["predictions"][0]["label"] == "green"
        process.terminate()
        assert process.exit_code() == 0
