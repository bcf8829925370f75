from __future__ import annotations

from benchmarks.endurance.traffic_mix import invalid_requests
from benchmarks.harness.images import generate_jpegs
from benchmarks.load.http_client import encode_request
from tests.support.raw_http import connected, read_answer


def test_invalid_requests_are_rejected_with_their_status(tiny_address: str) -> None:
    statuses = []
    for request in invalid_requests(generate_jpegs(1, 48)[0]):
        with connected(tiny_address) as connection:
            connection.sendall(encode_request(tiny_address, request))
            statuses.append(read_answer(connection).status)
    assert statuses == [422, 415, 400, 415, 413, 413]
