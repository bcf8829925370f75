"""One contender, started and loaded; what it answers must be right, or its speed says nothing."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness.server import serving
from benchmarks.harness.workload import Picture, Workload
from benchmarks.load import open_loop
from benchmarks.load.closed_loop import drive
from benchmarks.load.open_loop import percentile
from benchmarks.load.request import send
from benchmarks.peers.contenders import Answer, Contender

Pictures = Mapping[Picture, Sequence[bytes]]
Found = dict[str, Any]

#: Of the labels, that must agree with our server's: trees jump where int8 and float32 differ a little.
_AGREEMENT = 0.75
_WARM_UP_S = 5.0
_OK = 200


class WrongAnswers(Exception):
    """A contender answers something else than it should."""


def reference(ours: Contender, work: Workload, pictures: Pictures) -> Found:
    """What our server names the pictures, and the engine that it does so with."""
    with serving(work) as started:
        answers = {picture: _answers(ours, started.url, some) for picture, some in pictures.items()}
        labels = {picture: [answer.label for answer in some] for picture, some in answers.items()}
        return {"engine": started.engine, "labels": labels}


def peak(
    each: Contender, work: Workload, pictures: Pictures, expected: Found, connections: int, seconds: float
) -> Found:
    """Good answers a second in a closed loop, for each size of pictures.

    Raises:
        WrongAnswers: it does not agree with the reference.
    """
    found: Found = {}
    with each.running(work) as url:
        for picture, some in pictures.items():
            agreement = _agreement(each, _answers(each, url, some), expected, picture)
            requests = [each.request(data) for data in some]
            drive(url, requests, connections, _WARM_UP_S)
            closed = drive(url, requests, connections, seconds)
            found[picture] = {
                "rate": closed.rate,
                "p50": closed.p50,
                "p99": closed.p99,
                "refused": closed.refused,
                "agreement": agreement,
            }
    return found


def tail(each: Contender, work: Workload, rate: float, seconds: float) -> Found:
    """The 99th percentile of latencies, in seconds, in an open loop of so many requests a second."""
    requests = [each.request(data) for data in work.pictures]
    with each.running(work) as url:
        open_loop.drive(url, requests, rate, _WARM_UP_S)
        samples = open_loop.drive(url, requests, rate, seconds)
    return {
        "rate": rate,
        "p99": percentile([sample.latency_s for sample in samples], 99),
        "lag": percentile([sample.lag_s for sample in samples], 99),
        "failed": sum(sample.status != _OK for sample in samples),
    }


def _answers(each: Contender, url: str, pictures: Sequence[bytes]) -> list[Answer]:
    _, answers = send(url, [each.request(data) for data in pictures], in_flight=4)
    return [each.read(answer) for answer in answers]


def _agreement(each: Contender, answers: Sequence[Answer], expected: Found, picture: Picture) -> float:
    if each.shares_engine and any(answer.engine != expected["engine"] for answer in answers):
        raise WrongAnswers(f"{each.name} runs {answers[0].engine}, our server {expected['engine']}: make lock")
    labels = expected["labels"][picture]
    share = statistics.fmean(answer.label == label for answer, label in zip(answers, labels, strict=True))
    if share < _AGREEMENT:
        raise WrongAnswers(f"{each.name} agrees on {share:.0%} of the pictures: {answers} instead of {labels}")
    return share
