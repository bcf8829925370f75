"""Thousands of clients that hang up at the worst moments: nothing is left pending, and nothing leaks."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import uvloop

from benchmarks.endurance.disconnecting_client import When, leave
from benchmarks.endurance.leak_check import at_rest, growth, leaked, pending
from benchmarks.harness.report import Figure, Measurement, machine
from benchmarks.harness.server import check, classify, serving
from benchmarks.harness.workload import Workload
from benchmarks.load.http_client import message
from benchmarks.load.request import Request, form, send
from benchmarks.serving.cancellation import drive
from models.console.progress import Advance, Track, ignore, silent

PLACES = 256
_LARGE = "/openapi.json"
"""More than the buffers of a connection hold, so that the server still sends it when its client has gone."""
_WARM_UP = 0.1  # of the disconnects; by then every thread is there that will ever be
_CALM_S = 2.0
_TRIES = 1000


def measure(work: Workload, count: int, clients: int, track: Track = silent) -> Measurement:
    """Hang up so often, a third each in mid-upload, mid-queue and mid-answer, by so many clients at a time."""
    facts = work.facts | machine()
    requests = classify(work.pictures)
    with serving(work, APP_QUEUE_SIZE=str(PLACES), APP_MAX_IMAGES=str(PLACES)) as ours:
        facts["engine"] = ours.engine
        check(ours.url, requests)
        storm = _Storm(ours.url, work.pictures, clients)
        storm.rage(round(count * _WARM_UP))
        _takes_every_place(ours.url, work.pictures)
        before = at_rest(ours)
        noticed, began = ours.metric("classifier_requests_cancelled_total"), time.perf_counter()
        with track("Hanging up", count, "disconnects") as advance:
            left = storm.rage(count, advance)
        seconds = time.perf_counter() - began
        after = at_rest(ours, before)
        noticed = ours.metric("classifier_requests_cancelled_total") - noticed
        takes_all = _takes_every_place(ours.url, work.pictures)
        check(ours.url, requests)
    return Measurement(
        f"{count:,} disconnects: {work.title}",
        [
            *(Figure(when, [left.count(when)]) for when in When),
            Figure("a second", [count / seconds]),
            Figure("noticed by the server before its answer", [noticed]),
            *pending(after),
            *leaked(before, after),
            *growth(before, after),
            Figure(f"answered: one request that needs all {PLACES} places", [float(takes_all)], at_least=1),
        ],
        facts,
    )


class _Storm:
    """Clients that hang up, each again and again; how long they wait follows from how long an answer takes."""

    def __init__(self, url: str, pictures: Sequence[bytes], clients: int) -> None:
        self._url, self._clients, self._chance = url, clients, random.Random(0)
        short = [message(url, request) for request in classify(pictures)]
        long = [message(url, Request("/v1/embed", data, "image/jpeg")) for data in pictures]
        large = f"GET {_LARGE} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode()
        self._messages = {When.UPLOAD: short, When.QUEUE: short, When.ANSWER: [*long, *[large] * len(long)]}
        self._patience_s = drive(url, short, clients, 0, _CALM_S, 0).latency_s

    def rage(self, count: int, advance: Advance = ignore) -> list[When]:
        """Hang up so often; when it was."""
        return uvloop.run(self._rage(count, advance))

    async def _rage(self, count: int, advance: Advance) -> list[When]:
        moments = list(When)
        todo, left = iter([moments[number % len(moments)] for number in range(count)]), list[When]()

        async def client() -> None:
            for when in todo:
                await self._leave(when)
                left.append(when)
                advance(1)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._clients):
                group.create_task(client())
        return left

    async def _leave(self, when: When) -> None:
        """Hang up at that moment, with as many tries as that takes."""
        for _ in range(_TRIES):
            if await leave(self._url, self._chance.choice(self._messages[when]), when, self._chance, self._patience_s):
                return
        raise RuntimeError(f"No client could hang up in {when} in {_TRIES} tries: the server refuses, or has gone.")


def _takes_every_place(url: str, pictures: Sequence[bytes]) -> bool:
    """Whether a request is answered that needs every place there is: one that leaks would be missing."""
    some = [pictures[number % len(pictures)] for number in range(PLACES)]
    try:
        _, (answer,) = send(url, [form("/v1/classify/batch", some)], in_flight=1)
    except RuntimeError:  # refused
        return False
    return all("result" in item for item in json.loads(answer)["items"])
