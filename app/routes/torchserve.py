"""`/predictions/MODEL[/VERSION]`: prediction endpoints compatible with TorchServe clients."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from app.api.classify_call import classify_upload
from app.api.fast_route import FastRoute
from app.api.parameters import ModelPath, TimeoutMs, VersionPath
from app.api.schemas import Scores
from app.errors import BadParameter
from app.openapi import bodies, examples, responses
from app.openapi.responses import AUTH_ERRORS, DECODE_ERRORS, INFERENCE_ERRORS, READINESS_ERRORS, UPLOAD_ERRORS
from app.uploads.image import read_image
from models.errors import ModelNotFound

router = APIRouter(tags=["TorchServe"], route_class=FastRoute)

_TOP_K = 5
_DOCUMENTED: dict[str, Any] = {
    "summary": "Classify an image (TorchServe)",
    "openapi_extra": bodies.IMAGE,
    "responses": {
        **responses.success(scores=examples.SCORES),
        **responses.error_responses(
            "/predictions/cifar10",
            *(
                *AUTH_ERRORS,
                *UPLOAD_ERRORS,
                *DECODE_ERRORS,
                ModelNotFound,
                BadParameter,
                *READINESS_ERRORS,
                *INFERENCE_ERRORS,
            ),
        ),
    },
}


@router.post("/predictions/{model}", operation_id="predict", **_DOCUMENTED)
@router.put("/predictions/{model}", operation_id="predict_put", **_DOCUMENTED)
async def predict(request: Request, model: ModelPath, timeout_ms: TimeoutMs = None) -> Scores:
    """Return the five most likely classes of the newest version, as `{label: probability}`."""
    return await _predict(request, model, None, timeout_ms)


@router.post("/predictions/{model}/{version}", operation_id="predict_version", **_DOCUMENTED)
@router.put("/predictions/{model}/{version}", operation_id="predict_version_put", **_DOCUMENTED)
async def predict_version(
    request: Request, model: ModelPath, version: VersionPath, timeout_ms: TimeoutMs = None
) -> Scores:
    """Return the five most likely classes of one version."""
    return await _predict(request, model, version, timeout_ms)


async def _predict(request: Request, model: str, version: int | None, timeout_ms: float | None) -> Scores:
    classified = await classify_upload(
        request, lambda models: [models.catalog.find(model, version)], read_image, timeout_ms
    )
    ((classifier, probabilities),) = classified.single().outputs
    return Scores({label: score for label, _, score in classifier.top(probabilities, _TOP_K)})
