"""Convert inference results to the schemas of responses."""

from __future__ import annotations

from typing import Any

from app.api.schemas import CoarserClass, ModelResult, Prediction, Timing
from app.inference.result import InferenceResult
from models.arrays import Floats
from models.classifier import Classifier


def model_result(classifier: Classifier, probabilities: Floats, top_k: int, threshold: float) -> ModelResult:
    """Return one classifier's top predictions for one image, and the coarser classes above them.

    Args:
        classifier: computed the probabilities.
        probabilities: float32 [classes].
        top_k: largest number of predictions.
        threshold: smallest probability of a prediction or a coarser class.
    """
    top, parents = classifier.top(probabilities, top_k, threshold), classifier.parents(probabilities, threshold)
    return ModelResult(
        model=classifier.name,
        version=classifier.version,
        predictions=[Prediction(label=label, index=index, score=score) for label, index, score in top],
        parents=None if parents is None else [CoarserClass(label=label, score=score) for label, score in parents],
    )


def timing(result: InferenceResult[Any], total_s: float) -> Timing:
    """Convert the measured seconds of an inference, and of the whole request, to milliseconds."""
    return Timing(
        decode=_milliseconds(result.decode_s),
        queue=_milliseconds(result.queue_s),
        inference=_milliseconds(result.inference_s),
        total=_milliseconds(total_s),
    )


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)
