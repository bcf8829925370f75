"""A short run of the fuzzer; `make fuzz` runs a long one."""

from __future__ import annotations

import random
from email.message import Message

import pytest

from tests.support import fuzz
from tests.support.processes import Answer

CASES = 400


def test_every_mutated_request_gets_a_valid_response(tiny_address: str) -> None:
    findings, statuses = fuzz.run(tiny_address, range(CASES), seed=1)
    assert findings == []
    assert sum(statuses.values()) == CASES
    assert {200, 400, 415, 422} <= set(statuses)  # some cases stay valid, others fail in several ways


@pytest.mark.parametrize(
    ("status", "body", "is_invalid"),
    [
        (200, b'{"predictions": []}', False),
        (422, b'{"code": "undecodable_image"}', False),
        (500, b'{"code": "internal_error"}', True),
        (422, b'{"code": "surprise"}', True),
        (200, b"[]", True),
    ],
)
def test_fuzzer_detects_invalid_responses(status: int, body: bytes, is_invalid: bool) -> None:
    assert bool(fuzz.describe_invalid(Answer(status, Message(), body))) == is_invalid


def test_case_is_reproducible() -> None:
    seeds = fuzz.seeds()
    first, repeated, other = (fuzz.mutate(seeds[0], seeds, random.Random(f"1/{case}")) for case in (3, 3, 4))
    assert first == repeated != other
