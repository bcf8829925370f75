"""Results of many images: the predictions of an image, or why it cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from models.hierarchy import Parent, lead

Prediction = tuple[str, int, float]
"""Label, index, probability."""


class Answer(NamedTuple):
    """The predictions of a classifier for an image.

    Attributes:
        predictions: the most likely class first.
        parents: coarser classes, from the finest to the coarsest; None if the classifier has none.
    """

    predictions: list[Prediction]
    parents: list[Parent] | None = None


class Result(NamedTuple):
    """The answer for one image, or the error of an image that cannot be read, which has no predictions."""

    name: str
    predictions: list[Prediction]
    error: str = ""
    parents: list[Parent] | None = None

    @property
    def lead(self) -> Parent:
        """The most specific label that is sure, with its probability; there must be a prediction."""
        label, _, score = self.predictions[0]
        return lead((label, score), self.parents or ())


def in_order(
    names: Iterable[str], classified: Iterable[tuple[str, Answer]], failures: Mapping[str, str]
) -> Iterator[Result]:
    """Yield the result of every image, in order, each as soon as it is known.

    Args:
        names: all images.
        classified: the readable ones among them with their answers, in the same order.
        failures: the reasons for the others. It may be filled while `classified` is iterated, but must have the reason
            of an image before a later image is classified.
    """
    remaining = iter(names)
    for name, answer in classified:
        for other in remaining:
            if other == name:
                break
            yield Result(other, [], failures[other])
        yield Result(name, answer.predictions, parents=answer.parents)
    for other in remaining:
        yield Result(other, [], failures[other])
