"""The names of ImageNet's classes: complete, distinct and readable."""

from __future__ import annotations

import re

import pytest

from tests.support.keras_weights import CRANES
from tests.support.paths import SHARED_DATA
from training.weights.imagenet_classes import imagenet_classes

NAMES = list(imagenet_classes().values())


def test_there_are_1000_classes_in_the_order_of_their_wordnet_ids() -> None:
    wnids = list(imagenet_classes())
    assert len(wnids) == len(NAMES) == 1000
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in wnids)
    assert wnids == sorted(wnids)


def test_order_is_that_of_the_networks_outputs() -> None:
    path = SHARED_DATA / "imagenet_classes.tsv"
    if not path.is_file():
        pytest.skip(f"needs {path.name}")
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    assert [row[1] for row in rows] == list(imagenet_classes())


def test_names_are_distinct_in_any_case() -> None:
    assert len({name.casefold() for name in NAMES}) == 1000


@pytest.mark.parametrize("name", NAMES)
def test_name_is_plain_english(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z][A-Za-z.'-]*( [A-Za-z.'-]+)*( \([a-z]+( [a-z]+)*\))?", name)
    assert len(name) <= 40
    assert not re.search(r"n\d{8}", name)


def test_classes_of_the_same_word_are_told_apart() -> None:
    wnids = list(imagenet_classes())
    assert [wnids[index] for index in CRANES] == list(CRANES.values())
    assert [NAMES[index] for index in (134, 517, 657, 744, 836, 837, 638, 639)] == [
        "crane (bird)", "crane (machine)", "missile", "projectile", "dark glasses", "sunglasses", "leotard",
        "one-piece swimsuit",
    ]  # fmt: skip
