"""`POST /v1/classify/batch`: many images in, an answer or an error for each."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from app import many, problems
from app.disconnect import unless_gone
from app.problems import documented
from app.routes.classify import Model, Threshold, TopK, Version, answer
from app.schemas import BatchAnswer, BatchItem
from app.selection import Selection, select
from app.service import Answered, answered
from app.state import DeadlineDep, ServiceDep, StateDep
from models.classifier import Classifier

router = APIRouter(tags=["classify"])

_BODY: dict[str, Any] = {
    "required": True,
    "description": "Images as repeated fields `files`, or a zip of them.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["files"],
                "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        },
        "application/zip": {"schema": {"type": "string", "format": "binary"}},
    },
}


@router.post(
    "/v1/classify/batch",
    summary="Say what many images show",
    openapi_extra={"requestBody": _BODY},
    responses={200: {"model": BatchAnswer}, **documented(400, 404, 413, 415, 422, 503)},
    response_model=None,
)
async def classify_batch(
    request: Request,
    state: StateDep,
    service: ServiceDep,
    deadline: DeadlineDep,
    model: Model = None,
    version: Version = None,
    top_k: TopK = 5,
    threshold: Threshold = 0.0,
) -> Response:
    """Send images as repeated fields `files` of a form, or as a zip. One that fails does not touch the others."""
    selection = select(service.catalog, service.default, model, version)
    images = await many.read(request, state.settings)
    found = await unless_gone(
        request, service.classify_all([image.data for image in images], selection.classifiers, deadline)
    )

    def render() -> str:
        items = [
            BatchItem(index=index, filename=image.name, **_outcome(request, outcome, selection, top_k, threshold))
            for index, (image, outcome) in enumerate(zip(images, found, strict=True))
        ]
        return BatchAnswer(request_id=request.state.request_id, items=items).model_dump_json(exclude_none=True)

    return Response(await asyncio.to_thread(render), media_type="application/json")


def _outcome(
    request: Request, outcome: Answered[Classifier] | Exception, selection: Selection, top_k: int, threshold: float
) -> dict[str, Any]:
    if isinstance(outcome, problems.EXPECTED):
        return {"error": problems.note(request, outcome)}
    results = [answer(*each, top_k, threshold) for each in answered(outcome).answers]
    return {"results": results} if selection.many else {"result": results[0]}
