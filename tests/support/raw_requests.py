"""Seeded sequences of raw HTTP/1 requests, valid and malformed, for the framing tests (RFC 9110, RFC 9112).

A case is a sequence that one connection sends. Seed and number determine it, so that findings can be reproduced. Bodies
contain requests to `/inside/...`, which a server must never handle.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.support.request_drafts import Draft, Verdict
from tests.support.request_kinds import KINDS

_MAX_REQUESTS = 7  # of a case
_HOSTS = (b"a", b"a.example:8000", b"127.0.0.1", b"[::1]:80")


@dataclass(frozen=True)
class RawRequest:
    """One request.

    Attributes:
        kind: its name in `KINDS`.
        marker: its X-Request-ID, unique in the run.
        method, path, body: what a server that accepts it must read.
        data: the bytes to send.
        closes: the server closes the connection after its response.
        may_close: it may do so.
        is_whole: false if bytes are missing at its end, so that the next request would continue it.
    """

    kind: str
    verdict: Verdict
    marker: str
    method: str
    path: str
    body: bytes
    data: bytes
    closes: bool = False
    may_close: bool = False
    is_whole: bool = True


def case(seed: object, number: int, kinds: Sequence[str], is_pipelined: bool = True) -> list[RawRequest]:
    """Return the sequence of a case: random requests of these kinds, and one that closes the connection."""
    dice = random.Random(f"{seed}/{number}")
    count = dice.randint(1, _MAX_REQUESTS - 1) if is_pipelined else 1
    requests = [make(dice.choice(kinds), dice, f"{number}-{index}") for index in range(count)]
    return [*requests, make("close", dice, f"{number}-end")]


def make(kind: str, dice: random.Random, marker: str) -> RawRequest:
    """Return a random request of a kind."""
    change, verdict = KINDS[kind]
    draft = Draft(dice, marker)
    draft.host = dice.choice(_HOSTS)
    change(draft)
    data = draft.encode()
    return RawRequest(
        kind,
        verdict,
        marker,
        draft.method.decode("latin-1"),
        (draft.read_path or draft.path).decode(),
        draft.body,
        data,
        draft.closes,
        draft.may_close,
        draft.is_whole,
    )


def pieces(requests: Sequence[RawRequest], dice: random.Random) -> list[bytes]:
    """Split the bytes of a sequence: not at all, at every byte, between requests, or anywhere."""
    data = b"".join(request.data for request in requests)
    match dice.randrange(4):
        case 0:
            return [data]
        case 1 if len(data) < 4000:
            return [data[start : start + 1] for start in range(len(data))]
        case 2:
            return [request.data for request in requests]
        case _:
            cuts = sorted(dice.randrange(len(data)) for _ in range(dice.randint(1, 12)))
            return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if end > start]


def mutated(requests: Sequence[RawRequest], dice: random.Random) -> list[RawRequest]:
    """Change, delete, repeat or insert a few bytes of one request."""
    index = dice.randrange(len(requests))
    data = bytearray(requests[index].data)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(data))
        match dice.randrange(4):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                del data[at : at + dice.randint(1, 3)]
            case 2:
                data[at:at] = data[at : at + dice.randint(1, 8)]
            case _:
                data[at:at] = dice.choice(
                    (b"\r\n", b"\n", b"\r", b" ", b"\t", b"0", b":", b";", b",", b"\x00", b"\xff")
                )
    return [*requests[:index], replace(requests[index], kind="mutated", data=bytes(data)), *requests[index + 1 :]]
