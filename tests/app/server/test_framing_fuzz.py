"""Random sequences of raw requests: each gets its own response, in order, and the body of none becomes a request.

h11 is the oracle: what both accept, both must read alike.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import pytest
import uvloop

from app.server.http_protocol import protocol_class
from tests.support import h11_oracle
from tests.support.echo_servers import Outcome, Response, digest, echo_server, exchange
from tests.support.raw_requests import RawRequest, case, mutated, pieces
from tests.support.request_drafts import Verdict
from tests.support.request_kinds import KINDS

READ_TIMEOUT_S = 10.0  # some clients send each byte alone, on a busy machine
PATIENCE_S = 20.0
SHORT_PATIENCE_S = 3.0  # for requests that may have lost their `Connection: close`
CONCURRENT = 24
REJECTIONS = {400, 405, 408, 413, 414, 417, 431, 501, 505}
VALID = [kind for kind, (_, verdict) in KINDS.items() if verdict is Verdict.ACCEPT and kind != "close"]
COMPARABLE = [kind for kind in KINDS if kind != "connect"]  # h11 accepts a tunnel (RFC 9110, 9.3.6)
REJECTED = "rejected, but h11 accepts it"
ACCEPTED = "accepted, but h11: "
STRICTER = {
    "bad host": "RFC 9112, 3.2: an invalid Host requires 400; h11 accepts any text",
    "bad target": "RFC 9112, 3.2: recommends 400 for an invalid target; h11 accepts any text",
    "bad version": "RFC 9112, 2.3: h11 accepts any version of HTTP with two digits",
    "later version": "RFC 9110, 6.2: may be handled as 1.1; this server rejects it",
    "HTTP/2 preface": "RFC 9113, 3.4: h11 reads a request for `*`",
    "bare line feed": "RFC 9112, 2.2: may end a line",
    "line feed after chunk size": "RFC 9112, 7.1: a chunk size ends with CRLF",
    "line feed in chunk extension": "RFC 9112, 7.1.1: an extension contains no line feed",
    "loose chunk size": "RFC 9112, 7.1.1: whitespace around extensions is obsolete",
    "control in header value": "RFC 9110, 5.5: may be rejected",
    "fold": "RFC 9112, 5.2: must be rejected or replaced by a space",
    "framing trailers": "RFC 9110, 6.5.1: forbidden in trailers",
    "large head": "RFC 9110, 5.4: a server limits what it reads",
    "length and chunks": "RFC 9112, 6.3: may be rejected as an attempt to smuggle a request",
    "same length twice": "RFC 9110, 8.6: must be rejected or merged",
    "unknown method": "RFC 9110, 9.1: should get 501; httptools reads known methods only",
    "tab behind coding": "RFC 9110, 5.6.3: valid, but httptools strips spaces only",
    "HTTP/1.0 chunks": "RFC 9112, 6.1: faulty framing",
    "empty host": "RFC 9110, 4.2.1: an http URL has a host",
    "odd target": "RFC 9112, 3.2: h11 accepts any text",
    "asterisk": "RFC 9112, 3.2.4",
    "space before first header": "RFC 9112, 2.2: must be rejected or skipped",
}
"""Kinds that this server rejects and h11 accepts."""
LOOSER = {
    "no request line received": "RFC 9112, 2.2: an empty line before a request should be ignored",
    "Only Transfer-Encoding: chunked is supported": "RFC 9112, 6.1: a list that ends with `chunked`",
    "illegal request line": "RFC 9112, 3: more than one space in a request line may be accepted",
}
"""Errors of h11 in requests that this server accepts."""
T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def describe(requests: Sequence[RawRequest], outcome: Outcome) -> str | None:
    """Describe what is wrong with the responses to a sequence; None if nothing is."""
    if not _is_end_allowed(requests, outcome):
        return f"the connection is {outcome.end}"
    for index, response in enumerate(outcome.responses):
        if index == len(requests):
            return f"an additional response: {response}"
        request = requests[index]
        is_last = index == len(outcome.responses) - 1
        problem = _describe_one(request, response, is_last)
        if problem:
            return f"request {index} ({request.kind}): {problem}"
    if len(outcome.responses) == len(requests):
        return None
    if outcome.responses and outcome.responses[-1].closes:
        return None
    return f"no response to request {len(outcome.responses)} ({requests[len(outcome.responses)].kind})"


def _is_end_allowed(requests: Sequence[RawRequest], outcome: Outcome) -> bool:
    """Return True if the connection was closed; with a reset only towards a client that sent more than it announced."""
    answered = requests[: len(outcome.responses)]
    return outcome.end == "closed" or (
        outcome.end == "reset" and bool(answered) and (answered[-1].closes or answered[-1].may_close)
    )


def _describe_one(request: RawRequest, response: Response, is_last: bool) -> str | None:
    if response.closes != is_last:
        return f"`Connection: close` is {response.closes}, but this is{'' if is_last else ' not'} the last response"
    if not response.method:
        if request.verdict is Verdict.ACCEPT:
            return f"a valid request was rejected: {response}"
        if response.status not in REJECTIONS or not response.is_problem or not response.closes:
            return f"no proper rejection: {response}"
        return None
    if request.verdict is Verdict.REJECT:
        return f"an invalid request was accepted: {response}"
    if response.closes and not (request.closes or request.may_close):
        return "the connection was closed after a valid request"
    path = response.path[: len(request.path)] if request.kind == "odd target" else response.path
    read = (response.marker, response.method, path)
    if read != (request.marker, request.method, request.path):
        return f"the response belongs to {read}, not to {(request.marker, request.method, request.path)}"
    if response.body not in ("early", digest(request.body)):
        return f"the body was read as {response.body}, not {digest(request.body)}"
    return None


@dataclass(frozen=True)
class Finding:
    number: int
    problem: str
    sent: bytes
    outcome: Outcome

    def __str__(self) -> str:
        return f"case {self.number}: {self.problem}\n  sent {self.sent!r}\n  got {self.outcome}"


async def findings(seed: str, numbers: Sequence[int], kinds: Sequence[str], is_pipelined: bool = True) -> list[Finding]:
    """Send cases to the echo app behind the server's protocol; return those with a wrong response."""
    limit, found = asyncio.Semaphore(CONCURRENT), list[Finding]()

    async with echo_server(protocol_class(READ_TIMEOUT_S)) as address:

        async def send(number: int) -> None:
            async with limit:
                requests = case(seed, number, kinds, is_pipelined)
                parts = pieces(requests, random.Random(f"{seed}/{number}/pieces"))
                outcome = await exchange(address, parts, PATIENCE_S)
            if problem := describe(requests, outcome):
                found.append(Finding(number, problem, b"".join(request.data for request in requests), outcome))

        await asyncio.gather(*map(send, numbers))
    return found


def check(found: list[Finding]) -> None:
    found.sort(key=lambda finding: len(finding.sent))
    assert not found, f"{len(found)} findings\n" + "\n".join(map(str, found[:5]))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_request_gets_one_response_of_its_own(kind: str) -> None:
    check(run(findings(kind, range(12), [kind], is_pipelined=False)))


def test_pipelined_valid_requests_are_all_handled_in_order() -> None:
    check(run(findings("valid", range(80), VALID)))


def test_pipelined_requests_of_any_kind_get_responses_of_their_own() -> None:
    check(run(findings("any", range(80), list(KINDS))))


@pytest.mark.slow
def test_ten_thousand_requests_get_responses_of_their_own() -> None:
    check(run(findings("many valid", range(1500), VALID)) + run(findings("many", range(1500), list(KINDS))))


@dataclass(frozen=True)
class Difference:
    """A request that one parser accepts and the other rejects, or that both read differently."""

    kind: str
    what: str
    case: Finding


async def differences(seed: str, numbers: Sequence[int], kinds: Sequence[str], is_mutated: bool) -> list[Difference]:
    """Compare what the echo app and h11 read; the first difference of each case."""
    limit, found = asyncio.Semaphore(CONCURRENT), list[Difference]()
    async with echo_server(protocol_class(READ_TIMEOUT_S)) as address:

        async def send(number: int) -> None:
            async with limit:
                requests, dice = case(seed, number, kinds), random.Random(f"{seed}/{number}/pieces")
                if is_mutated:
                    requests = mutated(requests, dice)
                data = b"".join(request.data for request in requests)
                outcome = await exchange(address, pieces(requests, dice), SHORT_PATIENCE_S)
            if difference := compare(outcome, h11_oracle.read(data)):
                index, what = difference
                kind = "mutated" if is_mutated else requests[index].kind if index < len(requests) else "end"
                found.append(Difference(kind, what, Finding(number, what, data, outcome)))

        await asyncio.gather(*map(send, numbers))
    return found


def compare(outcome: Outcome, oracle: h11_oracle.Reading) -> tuple[int, str] | None:
    """Return number and description of the first request that is read differently; None if there is none."""
    for index, response in enumerate(outcome.responses):
        is_known = index < len(oracle.requests)
        if not response.method:
            return (index, REJECTED) if is_known else None
        if not is_known and response.body != "early":  # otherwise the body turned out invalid after the response
            return index, ACCEPTED + (oracle.error or "incomplete")
        if not is_known:
            return None
        method, target, body = oracle.requests[index]
        path = unquote_to_bytes(re.sub("^https?://[^/]*", "", target).partition("?")[0].partition("#")[0])
        if (response.method, unquote_to_bytes(response.path)) != (method, path) or response.body not in ("early", body):
            return index, f"read differently by h11: {oracle.requests[index]}"
    return None


def unexplained(found: list[Difference]) -> list[Finding]:
    """Return the differences that RFC 9110 and RFC 9112 do not leave open."""
    return [
        difference.case
        for difference in found
        if not (difference.what == REJECTED and (difference.kind == "mutated" or difference.kind in STRICTER))
        and not (
            difference.what.startswith(ACCEPTED) and difference.what.removeprefix(ACCEPTED).startswith(tuple(LOOSER))
        )
    ]


def test_requests_of_any_kind_are_read_as_by_h11() -> None:
    check(unexplained(run(differences("oracle", range(80), COMPARABLE, is_mutated=False))))


def test_mutated_requests_are_read_as_by_h11() -> None:
    check(unexplained(run(differences("mutated", range(80), VALID, is_mutated=True))))


@pytest.mark.slow
def test_ten_thousand_requests_are_read_as_by_h11() -> None:
    found = run(differences("many", range(1300), COMPARABLE, is_mutated=False))
    check(unexplained(found + run(differences("many", range(1300), VALID, is_mutated=True))))
