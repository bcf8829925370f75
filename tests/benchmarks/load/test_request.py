from __future__ import annotations

import json

from benchmarks.harness.images import generate_jpegs
from benchmarks.load.request import Request, send_all


def test_answers_are_in_the_order_of_the_requests(tiny_address: str) -> None:
    counts = [1 + number % 6 for number in range(12)]
    images = generate_jpegs(12, 48)
    requests = [
        Request(f"/v1/classify?top_k={count}", data, "image/jpeg") for count, data in zip(counts, images, strict=True)
    ]
    _, bodies = send_all(tiny_address, requests, in_flight=5)
    assert [len(json.loads(body)["predictions"]) for body in bodies] == counts
