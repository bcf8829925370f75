"""32 images in one request beside 32 requests in flight: what a client gains or loses by sending many at once."""

from __future__ import annotations

import json
from collections.abc import Sequence

from benchmarks.harness.report import Measurement, Way, compare
from benchmarks.load.request import Request, form, send

IMAGES = 32
TARGET = 0.95


def measure(url: str, pictures: Sequence[bytes], rounds: int, requests: int) -> Measurement:
    """Compare both on a running server.

    Args:
        url: of the server.
        pictures: 32 encoded images.
        rounds: in each both ways are measured once.
        requests: of 32 images, in each round; and as many images singly.
    """
    batch = form("/v1/classify/batch", pictures)
    single = [Request("/v1/classify", data, "image/jpeg") for data in pictures]

    def batches() -> float:
        seconds, answers = send(url, [batch] * requests, in_flight=1)
        _check([item.get("result", item) for answer in answers for item in json.loads(answer)["items"]])
        return requests * IMAGES / seconds

    def singles() -> float:
        seconds, answers = send(url, single * requests, in_flight=IMAGES)
        _check([json.loads(answer) for answer in answers])
        return requests * IMAGES / seconds

    for warm_up in (batches, singles):
        warm_up()
    return compare(
        f"{IMAGES} images at a time, {requests * IMAGES} in each round",
        Way("in one request (/v1/classify/batch)", batches),
        Way(f"in {IMAGES} requests (/v1/classify)", singles),
        rounds,
        TARGET,
        {"a picture": f"JPEG, {sum(map(len, pictures)) / len(pictures) / 1000:.1f} kB"},
    )


def _check(answers: Sequence[dict[str, object]]) -> None:
    """An error is answered faster than a picture is classified; raises RuntimeError for one."""
    for answer in answers:
        if not answer.get("predictions"):
            raise RuntimeError(f"No prediction came: {answer}")
