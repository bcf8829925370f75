"""`POST /v1/embed`: compute the features of one image."""

from __future__ import annotations

from enum import StrEnum
from io import BytesIO

import numpy as np
from fastapi import APIRouter, Request, Response

from app.api.classify_call import classify_upload
from app.api.fast_route import FastRoute
from app.api.model_selection import select_one
from app.api.parameters import Model, TimeoutMs, Version
from app.api.results import timing
from app.api.schemas import Features
from app.asgi import qualities, request_header
from app.errors import BadParameter
from app.inference.model_loading import LoadedModels
from app.openapi import bodies, examples, responses
from app.openapi.responses import (
    AUTH_ERRORS,
    DECODE_ERRORS,
    INFERENCE_ERRORS,
    READINESS_ERRORS,
    SERVER_TIMING,
    UPLOAD_ERRORS,
)
from app.request_context import get_context
from app.uploads.image import read_image
from models.arrays import Floats
from models.classifier import Embedding
from models.errors import ModelNotFound

router = APIRouter(tags=["classify"], route_class=FastRoute)


class _MediaType(StrEnum):
    JSON = "application/json"
    RAW = "application/octet-stream"
    NPY = "application/x-npy"


@router.post(
    "/v1/embed",
    summary="Compute the features of an image",
    openapi_extra=bodies.IMAGE,
    response_model=Features,
    responses={
        **responses.success(
            SERVER_TIMING, {_MediaType.RAW: bodies.BINARY, _MediaType.NPY: bodies.BINARY}, features=examples.FEATURES
        ),
        **responses.error_responses(
            "/v1/embed",
            *AUTH_ERRORS,
            *UPLOAD_ERRORS,
            *DECODE_ERRORS,
            ModelNotFound,
            BadParameter,
            *READINESS_ERRORS,
            *INFERENCE_ERRORS,
        ),
    },
)
async def embed(
    request: Request,
    model: Model = None,
    version: Version = None,
    timeout_ms: TimeoutMs = None,
) -> Response:
    """Return the pooled float32 features of an image, with the extractor and preprocessing of `model`.

    `Accept` selects the format: JSON, `application/octet-stream` (little-endian bytes) or `application/x-npy` (NumPy).
    """

    def consumer(models: LoadedModels) -> list[Embedding]:
        classifier = select_one(models, model, version)
        return [Embedding(classifier.extractor, classifier.spec)]

    result = (await classify_upload(request, consumer, read_image, timeout_ms)).single()
    embedding, output = result.outputs[0]
    features = output.astype("<f4")
    context = get_context(request)
    timing_ms = timing(result, context.elapsed_s())
    media_type = _negotiate(request_header(request.scope, b"accept"))
    headers = {"Server-Timing": timing_ms.server_timing, "Vary": "Accept"}
    if media_type is _MediaType.NPY:
        return Response(_to_npy(features), headers=headers, media_type=media_type)
    if media_type is _MediaType.RAW:
        return Response(features.tobytes(), headers=headers, media_type=media_type)
    manifest = embedding.extractor.manifest
    content = Features(
        extractor=manifest.name,
        version=manifest.version,
        request_id=context.request_id,
        features=features.tolist(),
        timing_ms=timing_ms,
        batch_size=result.batch_size,
    )
    return Response(content.model_dump_json(), headers=headers, media_type=media_type)


def _negotiate(accept: str | None) -> _MediaType:
    """Return the offered media type of the highest quality in an Accept header (RFC 9110, 12.5.1); JSON by default."""
    best, best_quality = _MediaType.JSON, 0.0
    for name, quality in qualities(accept).items():
        offered = next((each for each in _MediaType if name in (each, "*/*", "application/*")), None)
        if offered and quality > best_quality:
            best, best_quality = offered, quality
    return best


def _to_npy(features: Floats) -> bytes:
    buffer = BytesIO()
    np.save(buffer, features, allow_pickle=False)
    return buffer.getvalue()
