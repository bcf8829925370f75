"""A bounded run of the fuzzer; `make fuzz` runs it at length."""

from __future__ import annotations

import random
from email.message import Message

import pytest

from tests.support import fuzz
from tests.support.processes import Answer

CASES = 400


def test_no_mutated_request_gets_an_answer_that_is_none(tiny_address: str) -> None:
    found, statuses = fuzz.run(tiny_address, range(CASES), seed=1)
    assert found == []
    assert sum(statuses.values()) == CASES
    assert {200, 400, 415, 422} <= set(statuses)  # some survive, and the others fail in more than one way


@pytest.mark.parametrize(
    ("status", "body", "is_wrong"),
    [
        (200, b'{"predictions": []}', False),
        (422, b'{"code": "undecodable_image"}', False),
        (500, b'{"code": "internal_error"}', True),
        (422, b'{"code": "surprise"}', True),
        (200, b"[]", True),
    ],
)
def test_the_fuzzer_knows_a_wrong_answer(status: int, body: bytes, is_wrong: bool) -> None:
    assert bool(fuzz.wrong_with(Answer(status, Message(), body))) == is_wrong


def test_a_case_can_be_repeated() -> None:
    seeds = fuzz.seeds()
    first, again, other = (fuzz.mutated(seeds[0], seeds, random.Random(f"1/{case}")) for case in (3, 3, 4))
    assert first == again != other
