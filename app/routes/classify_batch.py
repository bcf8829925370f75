"""`POST /v1/classify/batch`: many images in, an answer or an error for each."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from app.api import problems
from app.api.cancellation import cancel_on_disconnect
from app.api.fast_route import FastRoute
from app.api.model_selection import Selection, select
from app.api.parameters import Models, Threshold, TimeoutMs, TopK, Version
from app.api.schemas import BatchItem, BatchResponse
from app.errors import BadParameter, BatchFailed, TooManyImages
from app.inference.service import InferenceResult, unwrap
from app.openapi import bodies, examples, responses
from app.openapi.responses import GUARDED, NEEDS_MODELS, QUEUES, READS_UPLOAD
from app.routes.classify import answer
from app.state import deadline, get_state
from app.uploads import images as many
from models.classifier import Classifier
from models.errors import ModelNotFound

router = APIRouter(tags=["classify"], route_class=FastRoute)


@router.post(
    "/v1/classify/batch",
    summary="Say what many images show",
    openapi_extra=bodies.IMAGES,
    response_model=BatchResponse,
    responses={
        **responses.answer(batch=examples.BATCH),
        **responses.errors(
            "/v1/classify/batch",
            *(*GUARDED, *READS_UPLOAD, TooManyImages, ModelNotFound, BadParameter, *NEEDS_MODELS, *QUEUES, BatchFailed),
        ),
    },
)
async def classify_batch(
    request: Request,
    model: Models = None,
    version: Version = None,
    top_k: TopK = 5,
    threshold: Threshold = 0.0,
    timeout_ms: TimeoutMs = None,
) -> Response:
    """Send images as repeated fields `files` of a form, or as a zip. One that fails does not touch the others."""
    state = get_state(request)
    with state.working_service().lease() as service:
        selection = select(service.catalog, service.default, model, version)
        until = deadline(request, timeout_ms)
        service.precheck(selection.classifiers, until)
        images = await many.read(request, state.settings)
        pictures = [image.data for image in images]
        work = service.classify_all(pictures, selection.classifiers, until)
        found = await cancel_on_disconnect(request, work)

    def render() -> str:
        items = [
            BatchItem(index=index, filename=image.name, **_outcome(request, outcome, selection, top_k, threshold))
            for index, (image, outcome) in enumerate(zip(images, found, strict=True))
        ]
        return BatchResponse(request_id=request.state.request_id, items=items).model_dump_json(exclude_none=True)

    return Response(await asyncio.to_thread(render), media_type="application/json")


def _outcome(
    request: Request,
    outcome: InferenceResult[Classifier] | Exception,
    selection: Selection,
    top_k: int,
    threshold: float,
) -> dict[str, Any]:
    if isinstance(outcome, problems.EXPECTED):
        return {"error": problems.note(request, outcome)}
    results = [answer(*each, top_k, threshold) for each in unwrap(outcome).probabilities]
    return {"results": results} if selection.many else {"result": results[0]}
