"""Results of many images: the predictions of an image, or why it cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

Prediction = tuple[str, int, float]
"""Label, index, probability."""


class Result(NamedTuple):
    """The predictions for one image, the most likely class first, or the error of an image that cannot be read."""

    name: str
    predictions: list[Prediction]
    error: str = ""


def in_order(
    names: Iterable[str], classified: Iterable[tuple[str, list[Prediction]]], failures: Mapping[str, str]
) -> Iterator[Result]:
    """Yield the result of every image, in order, each as soon as it is known.

    Args:
        names: all images.
        classified: the readable ones among them with their predictions, in the same order.
        failures: the reasons for the others. It may be filled while `classified` is iterated, but must have the reason
            of an image before a later image is classified.
    """
    remaining = iter(names)
    for name, predictions in classified:
        for other in remaining:
            if other == name:
                break
            yield Result(other, [], failures[other])
        yield Result(name, predictions)
    for other in remaining:
        yield Result(other, [], failures[other])
