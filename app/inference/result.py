"""The result of classifying one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from models.arrays import Floats
from models.classifier import OutputConsumer

R = TypeVar("R", bound=OutputConsumer)


@dataclass(frozen=True)
class InferenceResult(Generic[R]):
    """The output of each consumer for one image, in the order of the request, and the time it took in seconds."""

    outputs: tuple[tuple[R, Floats], ...]
    decode_s: float
    queue_s: float
    inference_s: float
    batch_size: int


def unwrap(result: InferenceResult[R] | Exception) -> InferenceResult[R]:
    """Return the result; raise it if it is an error."""
    if isinstance(result, Exception):
        raise result
    return result
