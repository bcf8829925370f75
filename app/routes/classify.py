"""`POST /v1/classify`: classify one image."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.classify_call import classify_upload
from app.api.fast_route import FastRoute
from app.api.model_selection import is_list, select
from app.api.parameters import Models, Threshold, TimeoutMs, TopK, Version
from app.api.results import model_result, timing
from app.api.schemas import Classification, Comparison
from app.errors import BadParameter
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
from models.errors import ModelNotFound

router = APIRouter(tags=["classify"], route_class=FastRoute)


@router.post(
    "/v1/classify",
    summary="Classify an image",
    openapi_extra=bodies.IMAGE,
    response_model=Classification | Comparison,
    responses={
        **responses.success(
            SERVER_TIMING,
            one_model=examples.CLASSIFICATION,
            coarser_classes=examples.COARSER_CLASSES,
            several_models=examples.COMPARISON,
        ),
        **responses.error_responses(
            "/v1/classify",
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
async def classify(
    request: Request,
    model: Models = None,
    version: Version = None,
    top_k: TopK = 5,
    threshold: Threshold = 0.0,
    timeout_ms: TimeoutMs = None,
) -> Response:
    """Classify one image, sent as the form field `file`, as the body itself, or as base64 in JSON."""
    classified = await classify_upload(request, lambda models: select(models, model, version), read_image, timeout_ms)
    result = classified.single()
    results = [model_result(*output, top_k, threshold) for output in result.outputs]
    context = get_context(request)
    timing_ms = timing(result, context.elapsed_s())
    shared: dict[str, Any] = {
        "request_id": context.request_id,
        "timing_ms": timing_ms,
        "batch_size": result.batch_size,
    }
    content = Comparison(results=results, **shared) if is_list(model) else Classification(**vars(results[0]), **shared)
    headers = {"Server-Timing": timing_ms.server_timing}
    return Response(content.model_dump_json(exclude_none=True), headers=headers, media_type="application/json")
