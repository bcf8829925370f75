"""Hours of mixed load: no error of the server's, no growth, and the last answers as fast as the first."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import uvloop

from benchmarks.endurance.leak_check import at_rest, growth, pending
from benchmarks.endurance.traffic_mix import Kind, Mix
from benchmarks.harness.report import Figure, Measurement, machine
from benchmarks.harness.server import check, classify, serving
from benchmarks.harness.workload import Workload
from benchmarks.load.http_client import message
from benchmarks.load.open_loop import Sample, at_rate, percentile
from benchmarks.serving.cancellation import drive
from models.console.progress import Track, silent

LOAD, SLOWER = 0.8, 1.2
_CAPACITY_S, _WARM_UP_S, _WINDOW_S = 10.0, 60.0, 300.0
_LEAST_WINDOWS = 6
_SPELLS = 3
_OK, _CLIENTS_FAULT, _SERVERS_FAULT, _UNAVAILABLE = 200, 400, 500, 503

Sent = Sequence[tuple[Kind, Sample]]


def measure(work: Workload, seconds: float, clients: int, track: Track = silent) -> Measurement:
    """So many seconds at 80 % of what a closed loop of these clients is answered.

    A spell of the same mix warms up: what a server takes once for good is no growth.
    """
    facts = work.facts | machine()
    requests = classify(work.pictures)
    with serving(work) as ours:
        facts["engine"] = ours.engine
        check(ours.url, requests)
        messages = [message(ours.url, request) for request in requests]
        calm = [drive(ours.url, messages, clients, 0, min(_CAPACITY_S, seconds), 0) for _ in range(_SPELLS)]
        capacity = statistics.median(spell.rate for spell in calm)
        soak = _Soak(Mix(ours.url, work.pictures, calm[-1].latency_s), LOAD * capacity, track)
        soak.run("Warming up", min(_WARM_UP_S, seconds / _LEAST_WINDOWS))
        before = at_rest(ours)
        noticed = ours.metric("classifier_requests_cancelled_total")
        sent = soak.run("Soaking", seconds)
        after = at_rest(ours)
        noticed = ours.metric("classifier_requests_cancelled_total") - noticed
        still = drive(ours.url, messages, clients, 0, min(_CAPACITY_S, seconds), 0).rate
    return Measurement(
        f"{seconds / 60:g} minutes at {LOAD:.0%} of capacity: {work.title}",
        [
            Figure("capacity, of a closed loop", [spell.rate for spell in calm], "images/s"),
            Figure("the same at the end", [still], "images/s"),
            Figure("requests", [len(sent)]),
            Figure("a second", [len(sent) / seconds]),
            *judged(sent),
            Figure("of those left, noticed by the server", [noticed]),
            *speed(sent, seconds, min(_WINDOW_S, seconds / _LEAST_WINDOWS)),
            *pending(after),
            *growth(before, after),
        ],
        facts,
    )


def judged(sent: Sent) -> list[Figure]:
    """What came of the requests, and what should not have."""
    waited = [(kind, each) for kind, each in sent if kind is not Kind.GONE]
    refused = [each for _, each in waited if _is_refusal(each)]
    others = [(kind, each) for kind, each in waited if not _is_refusal(each)]
    failed = sum(each.status >= _SERVERS_FAULT for _, each in others)
    good = [each.status for kind, each in others if kind is Kind.GOOD]
    bad = [each.status for kind, each in others if kind is Kind.BAD]
    return [
        Figure("answers of 5xx that are no deliberate 503", [failed], at_most=0),
        Figure("deliberate 503", [len(refused)]),
        Figure("pictures that were sent", [sum(kind is Kind.GOOD for kind, _ in sent)]),
        Figure("of these, neither answered nor refused with 503", [sum(each != _OK for each in good)], at_most=0),
        Figure("bad input that was sent", [sum(kind is Kind.BAD for kind, _ in sent)]),
        Figure(
            "of this, not refused with 4xx",
            [sum(not _CLIENTS_FAULT <= each < _SERVERS_FAULT for each in bad)],
            at_most=0,
        ),
        Figure("requests that were left", [len(sent) - len(waited)]),
    ]


def speed(sent: Sent, seconds: float, window_s: float) -> list[Figure]:
    """How long answers took in the first and in the last `window_s` of so many seconds, and how late we were."""
    size = max(1, round(len(sent) * window_s / seconds))
    first, last = (
        percentile([each.latency_s for kind, each in part if kind is Kind.GOOD and each.status == _OK], 99)
        for part in (sent[:size], sent[-size:])
    )
    return [
        Figure(f"p99 of the first {window_s:.0f} s", [first * 1000], "ms"),
        Figure(f"p99 of the last {window_s:.0f} s", [last * 1000], "ms"),
        Figure("last over first", [last / first if first and last else math.inf], at_most=SLOWER),
        Figure("p99 of how late we sent", [percentile([each.lag_s for _, each in sent], 99) * 1000], "ms"),
    ]


def _is_refusal(each: Sample) -> bool:
    """A 503 that the server means: it says when to come back."""
    return each.status == _UNAVAILABLE and each.says_when


class _Soak:
    """A mix at a constant rate."""

    def __init__(self, mix: Mix, rate: float, track: Track) -> None:
        self._mix, self._rate, self._track = mix, rate, track

    def run(self, what: str, seconds: float) -> Sent:
        """Send for so long; what came of each request, in the order of their planned times."""
        return uvloop.run(self._run(what, seconds))

    async def _run(self, what: str, seconds: float) -> Sent:
        with self._track(what, int(self._rate * seconds), "requests") as advance:

            async def ask(number: int, planned: float) -> tuple[Kind, Sample]:
                found = await self._mix.ask(number, planned)
                advance(1)
                return found

            sent = await at_rate(self._rate, seconds, ask)
        await self._mix.close()
        return sent
