"""Example responses, built from the response schemas; a test compares them with the shipped store."""

from __future__ import annotations

import http
import inspect
from typing import Any

from app import VERSION
from app.api import problems
from app.api.schemas import (
    BatchItem,
    BatchResponse,
    Classification,
    CoarserClass,
    Comparison,
    ExtractorStatus,
    Features,
    Health,
    ModelDetail,
    ModelList,
    ModelResult,
    ModelSummary,
    ModelVersion,
    Prediction,
    Problem,
    Scores,
    Status,
    Timing,
    V2Live,
    V2Model,
    V2ModelReady,
    V2Output,
    V2Ready,
    V2Response,
    V2Server,
    V2Tensor,
)
from models.decoding.errors import UndecodableImage
from models.manifests import Metrics

REQUEST_ID = "0488511e18dc4cb281c31e69502728d6"
_TIMING = Timing(decode=2.28, queue=0.39, inference=22.92, total=27.2)
_PREDICTIONS = [Prediction(label="dog", index=5, score=0.8836), Prediction(label="cat", index=3, score=0.0807)]
_MODEL = ModelResult(model="cifar10", version=3, predictions=_PREDICTIONS)
_UNSURE: dict[str, Any] = {
    "model": "imagenet",
    "version": 1,
    "predictions": [
        Prediction(label="French bulldog", index=245, score=0.1134),
        Prediction(label="Staffordshire bull terrier", index=179, score=0.1088),
    ],
    "parents": [CoarserClass(label="dog", score=0.6645), CoarserClass(label="animal", score=0.7583)],
}
_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
_MEASURED: dict[str, Any] = {"request_id": REQUEST_ID, "timing_ms": _TIMING, "batch_size": 1}
_SUMMARY: dict[str, Any] = {
    "name": "cifar10",
    "version": 3,
    "default": False,
    "classes": _CLASSES,
    "extractor": "inception_v3_96",
}


def problem(path: str, error_type: type[Exception]) -> Problem:
    """Return an example problem for an error type."""
    status = problems.STATUS.get(error_type, 500)
    return Problem(
        title=http.HTTPStatus(status).phrase,
        status=status,
        detail=problems.INTERNAL_ERROR if status == http.HTTPStatus.INTERNAL_SERVER_ERROR else summary(error_type),
        instance=path,
        code=error_type.code,  # type: ignore[attr-defined]
        request_id=REQUEST_ID,
    )


def summary(error_type: type[Exception]) -> str:
    """Return the first line of the docstring of an error type."""
    return (inspect.getdoc(error_type) or error_type.__name__).partition("\n")[0]


CLASSIFICATION = Classification(model="cifar10", version=3, predictions=_PREDICTIONS, **_MEASURED)
COARSER_CLASSES = Classification(**_UNSURE, **_MEASURED)
COMPARISON = Comparison(results=[_MODEL, ModelResult(**_UNSURE)], **_MEASURED)
BATCH = BatchResponse(
    request_id=REQUEST_ID,
    items=[
        BatchItem(index=0, filename="dog.jpg", result=_MODEL),
        BatchItem(index=1, filename="broken.jpg", error=problem("/v1/classify/batch", UndecodableImage)),
    ],
)
FEATURES = Features(extractor="inception_v3_96", version=3, features=[0.0, 0.2871, 1.0439], **_MEASURED)
SCORES = Scores({"dog": 0.8836, "cat": 0.0807, "horse": 0.0181, "deer": 0.0102, "bird": 0.0049})
STATUS = Status(
    requests_in_flight=1,
    resizer="cykooz-resizer 4.0.1",
    models=[ModelVersion(name="cifar10", version=3), ModelVersion(name="imagenet", version=1)],
    extractors=[
        ExtractorStatus(
            name="inception_v3_96",
            engine="openvino-int8",
            waiting=0,
            free=512,
            capacity=512,
            full_batch=16,
            single_image_ms=2.9,
            full_batch_ms=21.4,
            pace=1.0,
            concurrency=2.0,
            deadline_margin_ms=0.0,
        )
    ],
)
MODELS = ModelList(models=[ModelSummary(**_SUMMARY)])
MODEL = ModelDetail(
    **_SUMMARY,
    metrics={
        "test": Metrics(
            images=10_000,
            accuracy=0.8868,
            accuracy_interval=(0.8804, 0.8929),
            top5_accuracy=0.9953,
            log_loss=0.3456,
            expected_calibration_error=0.0161,
            accuracy_by_class={"airplane": 0.903, "automobile": 0.952},
            most_frequent=0.1,
        )
    },
    card="# CIFAR-10: ten everyday animals and vehicles\n\n`cifar10` version 3",
)
HEALTH = Health(status="ok")
V2_SERVER = V2Server(
    name="image-classification-service", version=VERSION, extensions=["binary_tensor_data", "classification"]
)
V2_LIVE = V2Live(live=True)
V2_READY = V2Ready(ready=True)
V2_MODEL_READY = V2ModelReady(name="cifar10", ready=True)
V2_MODEL = V2Model(
    name="cifar10",
    versions=["3"],
    platform="openvino:int8",
    inputs=[
        V2Tensor(name="image", datatype="BYTES", shape=[-1]),
        V2Tensor(name="pixels", datatype="UINT8", shape=[-1, -1, -1, 3]),
    ],
    outputs=[V2Tensor(name="probabilities", datatype="FP32", shape=[-1, 10])],
)
V2_RESPONSE = V2Response(
    model_name="cifar10",
    model_version="3",
    outputs=[V2Output(name="probabilities", datatype="BYTES", shape=[1, 2], data=["0.883600:5:dog", "0.080700:3:cat"])],
)
