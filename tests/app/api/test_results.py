"""Conversion of results to responses."""

from __future__ import annotations

from app.api.results import timing
from app.inference.result import InferenceResult
from models.classifier import Classifier


def test_times_are_milliseconds_with_two_decimals() -> None:
    result = InferenceResult[Classifier]((), decode_s=0.0012345, queue_s=0.00001, inference_s=0.1, batch_size=1)
    times = timing(result, 0.123456)
    assert (times.decode, times.queue, times.inference, times.total) == (1.23, 0.01, 100.0, 123.46)
