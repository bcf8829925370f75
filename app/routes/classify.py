"""`POST /v1/classify`: an image in, the likeliest classes out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.cancellation import cancel_on_disconnect
from app.api.fast_route import FastRoute
from app.api.model_selection import select
from app.api.parameters import Models, Threshold, TimeoutMs, TopK, Version
from app.api.schemas import Classification, Comparison, ModelResult, Prediction, Timing
from app.errors import BadParameter
from app.inference.service import InferenceResult
from app.openapi import bodies, examples, responses
from app.openapi.responses import DECODES, GUARDED, NEEDS_MODELS, READS_UPLOAD, RUNS, SERVER_TIMING
from app.state import deadline, elapsed_s, get_state
from app.uploads import image as uploads
from models.classifier import Classifier
from models.errors import ModelNotFound
from models.heads import Floats

router = APIRouter(tags=["classify"], route_class=FastRoute)


@router.post(
    "/v1/classify",
    summary="Say what an image shows",
    openapi_extra=bodies.IMAGE,
    response_model=Classification | Comparison,
    responses={
        **responses.answer(SERVER_TIMING, one_model=examples.CLASSIFICATION, several_models=examples.COMPARISON),
        **responses.errors(
            "/v1/classify", *GUARDED, *READS_UPLOAD, *DECODES, ModelNotFound, BadParameter, *NEEDS_MODELS, *RUNS
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
    """Send one image: as the field `file` of a form, as the body itself, or as base64 in JSON."""
    state = get_state(request)
    with state.working_service().lease() as service:
        selection = select(service.catalog, service.default, model, version)
        until = deadline(request, timeout_ms)
        service.precheck(selection.classifiers, until)
        upload = await uploads.read(request, state.settings.max_body_bytes)
        work = service.classify(upload.image, selection.classifiers, until)
        classified = await cancel_on_disconnect(request, work)
    results = [answer(*found, top_k, threshold) for found in classified.probabilities]
    timing = timed(classified, elapsed_s(request))
    measured: dict[str, Any] = {
        "request_id": request.state.request_id,
        "timing_ms": timing,
        "batch_size": classified.batch_size,
    }
    told = Comparison(results=results, **measured) if selection.many else Classification(**vars(results[0]), **measured)
    return Response(
        told.model_dump_json(), headers={"Server-Timing": server_timing(timing)}, media_type="application/json"
    )


def answer(classifier: Classifier, probabilities: Floats, top_k: int, threshold: float) -> ModelResult:
    """What one classifier makes of the image."""
    top = classifier.top(probabilities, top_k, threshold)
    return ModelResult(
        model=classifier.name,
        version=classifier.version,
        predictions=[Prediction(label=label, index=index, score=score) for label, index, score in top],
    )


def timed(classified: InferenceResult[Any], total_s: float) -> Timing:
    """Seconds as they were measured -> milliseconds as they are told."""
    return Timing(
        decode=_ms(classified.decode_s),
        queue=_ms(classified.queue_s),
        inference=_ms(classified.inference_s),
        total=_ms(total_s),
    )


def server_timing(timing: Timing) -> str:
    """The same for a browser's developer tools (W3C Server Timing)."""
    return ", ".join(f"{name};dur={value}" for name, value in timing)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
