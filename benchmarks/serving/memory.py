"""Whether the server grows with the requests that it has answered."""

from __future__ import annotations

from benchmarks.harness.report import Figure, Measurement, machine
from benchmarks.harness.server import Serving, check, classify, serving
from benchmarks.harness.workload import Picture, Workload, draw
from benchmarks.load.closed_loop import served

TARGET_MB = 50.0
_WARM_UP = 0.1  # of the requests
_SPELL_S = 10.0
_LARGE_EVERY = 8


def measure(work: Workload, requests: int, connections: int, spell_s: float = _SPELL_S) -> Measurement:
    """Memory before and after so many requests, a few of them with a camera's picture; a tenth warms up."""
    facts = work.facts | machine()
    cameras = draw(Picture.CAMERA)
    mixed = [
        picture
        for number, small in enumerate(work.pictures)
        for picture in ([small] if number % _LARGE_EVERY else [small, cameras[number // _LARGE_EVERY % len(cameras)]])
    ]
    with serving(work) as ours:
        facts["engine"] = ours.engine
        check(ours.url, classify(mixed))
        _answer(ours, mixed, round(requests * _WARM_UP), connections, spell_s)
        before = ours.resident_mb
        answered = _answer(ours, mixed, requests, connections, spell_s)
        after = ours.resident_mb
    return Measurement(
        f"Memory over {answered:,} requests: {work.title}",
        [
            Figure("resident before", [before], "MB"),
            Figure("resident after", [after], "MB"),
            Figure("growth", [after - before], "MB", at_most=TARGET_MB),
        ],
        facts,
    )


def _answer(ours: Serving, pictures: list[bytes], count: int, connections: int, spell_s: float) -> int:
    """At least so many requests; how many it were."""
    requests, answered = classify(pictures), 0
    while answered < count:
        answered += served(ours.url, requests, connections, spell_s).answers
    return answered
