"""Broken and hostile files of Pillow, image-rs and AFL, in each form of a body, by many clients at once."""

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
from tests.support.machine import undisturbed
from tests.support.paths import ROOT
from tests.support.processes import get, server
from tests.support.raw_http import exchange, post

ARCHIVE = ROOT.parent / "shared" / "data" / "hostile-images.tar.gz"
CLIENTS = 8
SLOWEST_S = 2.0
GROWTH_BYTES = 50_000_000
RESTS_S = 1.5  # after half a second without a request, freed memory is given back

pytestmark = pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"{ARCHIVE.name} is not there")


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
    """What became of a file in one form of a body."""

    file: str
    form: Callable[[bytes], bytes]
    status: int
    code: str
    retry_after: str | None
    seconds: float

    @property
    def is_deliberate(self) -> bool:
        """Whether it was refused, and told when to come back."""
        return self.status == 503 and int(self.retry_after or 0) >= 1


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    with tarfile.open(ARCHIVE) as archive:
        members = {each.name: archive.extractfile(each) for each in archive if each.isfile()}
        return {name: member.read() for name, member in members.items() if member}


def asked(address: str, file: str, form: Callable[[bytes], bytes], data: bytes) -> Outcome:
    began = time.monotonic()
    answer = exchange(address, form(data))
    seconds = time.monotonic() - began
    return Outcome(file, form, answer.status, answer.json.get("code", ""), answer.headers["Retry-After"], seconds)


def all_asked(
    address: str, jobs: Sequence[tuple[str, Callable[[bytes], bytes]]], files: Mapping[str, bytes]
) -> list[Outcome]:
    """What became of every job, sent by all clients at once."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(lambda job: asked(address, job[0], job[1], files[job[0]]), jobs))


def slow(outcomes: list[Outcome]) -> list[Outcome]:
    """Answers that took too long, waiting included."""
    return [each for each in outcomes if each.seconds > SLOWEST_S]


def resident_bytes(address: str) -> float:
    lines = get(address, "/metrics").body.splitlines()
    return float(next(line for line in lines if line.startswith(b"process_resident_memory_bytes")).split()[1])


@pytest.mark.timeout(600)  # seconds, but on a machine that others keep busy
@pytest.mark.parametrize(
    ("rounds", "forms"),
    [
        pytest.param(1, 1, id="each file in one form"),
        pytest.param(2, len(FORMS), id="each file in each form, twice", marks=pytest.mark.slow),
    ],
)
def test_no_file_hurts_the_server(tiny_store: Path, files: dict[str, bytes], rounds: int, forms: int) -> None:
    assert len(files) > 400
    turns = [FORMS[i:] + FORMS[:i] for i in range(len(FORMS))]
    jobs = [(file, form) for i, file in enumerate(files) for form in turns[i % len(turns)][:forms]] * rounds
    with server("tests.support.tiny_server", APP_STORE=str(tiny_store)) as process:
        address = process.address()
        before = resident_bytes(address)
        outcomes = undisturbed(lambda: all_asked(address, jobs, files), lambda found: not slow(found))
        assert [each for each in outcomes if each.status >= 500 and not each.is_deliberate] == []
        assert {each.status for each in outcomes} <= {200, 400, 413, 415, 422, 503}
        assert len({(each.file, each.status, each.code) for each in outcomes if each.status != 503}) == len(files)
        assert slow(outcomes) == []
        time.sleep(RESTS_S)
        assert resident_bytes(address) - before < GROWTH_BYTES
        assert get(address, "/readyz").status == 200
        assert exchange(address, as_body(encoded("green"))).json["predictions"][0]["label"] == "green"
        process.terminate()
        assert process.exit_code() == 0
