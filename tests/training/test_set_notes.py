"""Notes on the figures of a set follow from its record, and from nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from models.manifests import SetRecord
from training.set_notes import is_optimistic, set_notes


def record(**parts: Any) -> SetRecord:
    return SetRecord(**{"digest": "d", "images": 1200, "fitted_by_network": 0, "measured_before": 0, **parts})


NEVER = "no earlier measurement of it is recorded"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, [NEVER]),
        ({"measured_before": 1, "measured_by": ("a@1",)}, ["measured once before, by a@1"]),
        ({"measured_before": 7, "measured_by": ("a@2", "a@1")}, ["measured 7 times before, by a@2, a@1"]),
        ({"measured_before": None}, ["not recorded: how often it was measured before"]),
        (
            {"fitted_by_network": 1200},
            ["optimistic: the network or its initial weights had been fitted on all of its 1,200 images", NEVER],
        ),
        ({"fitted_by_head": 3}, ["optimistic: the head had been fitted on 3 of its 1,200 images", NEVER]),
        (
            {"fitted_by_network": None, "unrecorded": ("net@1",)},
            ["not recorded: which images the network or its initial weights had been fitted on", NEVER],
        ),
        ({"unrecorded": ("net@1",)}, ["not recorded: which images net@1 had been fitted on", NEVER]),
        (
            {"uses": ("choose.network", "calibrate.head")},
            ["the pass of the network that is kept was chosen on it", "the temperature was fitted on it", NEVER],
        ),
        (
            {"model": "head"},
            ["measured before the head was fitted again: the one that is saved was not measured", NEVER],
        ),
    ],
)
def test_each_part_of_a_record_has_its_sentence(parts: dict[str, Any], expected: list[str]) -> None:
    assert set_notes(record(**parts)) == expected


def test_set_without_a_record_says_so() -> None:
    assert set_notes(None) == ["not recorded: what else it was used for, and how often it was measured before"]


@pytest.mark.parametrize("parts", [{"fitted_by_head": 1}, {"fitted_by_network": 1}, {"uses": ("choose.int8",)}])
def test_figures_are_optimistic_if_the_model_saw_the_images(parts: dict[str, Any]) -> None:
    assert is_optimistic(record(**parts))
    assert not is_optimistic(record(measured_before=3, fitted_by_network=None))
