"""`/predictions/MODEL[/VERSION]`: the address of TorchServe, for clients that were made for it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from app.api.cancellation import cancel_on_disconnect
from app.api.fast_route import FastRoute
from app.api.parameters import ModelPath, TimeoutMs, VersionPath
from app.api.schemas import Scores
from app.errors import BadParameter
from app.openapi import bodies, examples, responses
from app.openapi.responses import DECODES, GUARDED, NEEDS_MODELS, READS_UPLOAD, RUNS
from app.state import deadline, get_state
from app.uploads import image as uploads
from models.errors import ModelNotFound

router = APIRouter(tags=["TorchServe"], route_class=FastRoute)

_TOP_K = 5
_DOCUMENTED: dict[str, Any] = {
    "summary": "Say what an image shows, as TorchServe does",
    "openapi_extra": bodies.IMAGE,
    "responses": {
        **responses.answer(scores=examples.SCORES),
        **responses.errors(
            "/predictions/cifar10",
            *(*GUARDED, *READS_UPLOAD, *DECODES, ModelNotFound, BadParameter, *NEEDS_MODELS, *RUNS),
        ),
    },
}


@router.post("/predictions/{model}", operation_id="predict", **_DOCUMENTED)
@router.put("/predictions/{model}", operation_id="predict_put", **_DOCUMENTED)
async def predict(request: Request, model: ModelPath, timeout_ms: TimeoutMs = None) -> Scores:
    """The five likeliest classes of the newest version: `{label: probability}`. `curl -T photo.jpg URL` works."""
    return await _predict(request, model, None, timeout_ms)


@router.post("/predictions/{model}/{version}", operation_id="predict_version", **_DOCUMENTED)
@router.put("/predictions/{model}/{version}", operation_id="predict_version_put", **_DOCUMENTED)
async def predict_version(
    request: Request, model: ModelPath, version: VersionPath, timeout_ms: TimeoutMs = None
) -> Scores:
    """The same of one version."""
    return await _predict(request, model, version, timeout_ms)


async def _predict(request: Request, model: str, version: int | None, timeout_ms: float | None) -> Scores:
    state = get_state(request)
    with state.working_service().lease() as service:
        classifier = service.catalog.find(model, version)
        until = deadline(request, timeout_ms)
        service.precheck([classifier], until)
        upload = await uploads.read(request, state.settings.max_body_bytes)
        work = service.classify(upload.image, [classifier], until)
        answered = await cancel_on_disconnect(request, work)
    return Scores({label: score for label, _, score in classifier.top(answered.probabilities[0][1], _TOP_K)})
