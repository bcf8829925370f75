"""`/v2`: the Open Inference Protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from app import VERSION
from app.api.cancellation import cancel_on_disconnect
from app.api.fast_route import FastRoute
from app.api.parameters import HeaderLength, ModelPath, TimeoutMs, VersionPath
from app.api.schemas import Health, V2Model, V2Response, V2Server, V2Tensor
from app.errors import BadParameter, TooManyImages, WorkerDied
from app.inference.service import unwrap
from app.oip import messages, tensors
from app.oip.messages import HEADER_LENGTH, Output, RequestedOutput
from app.openapi import bodies, examples, responses
from app.openapi.responses import DECODES, GUARDED, NEEDS_MODELS, READS_BODY, RUNS
from app.state import deadline, get_state
from app.uploads.body import open_body, read_all
from models.classifier import Classifier
from models.errors import ModelNotFound
from models.heads import Floats

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], route_class=FastRoute)

PROBABILITIES = "probabilities"
_EXTENSIONS = ["binary_tensor_data", "classification"]

_NOT_READY = responses.v2_errors(*NEEDS_MODELS)
_NOT_FOUND = responses.v2_errors(*GUARDED, ModelNotFound, BadParameter, *NEEDS_MODELS)
_METADATA: Any = {"responses": {**responses.answer(model=examples.V2_MODEL), **_NOT_FOUND}}
_READY: Any = {"responses": {**responses.answer(ok=examples.HEALTH), **_NOT_FOUND}}
_JSON_LENGTH: responses.Headers = {
    HEADER_LENGTH: {
        "description": "bytes of JSON, where tensors follow it",
        "schema": {"type": "integer", "minimum": 1},
    }
}
_INFER: Any = {
    "summary": "Classify images",
    "openapi_extra": bodies.TENSORS,
    "response_model": V2Response,
    "responses": {
        **responses.answer(_JSON_LENGTH, {"application/octet-stream": bodies.BINARY}, classes=examples.V2_ANSWER),
        **responses.v2_errors(
            *(*GUARDED, *READS_BODY, TooManyImages, *DECODES, ModelNotFound, BadParameter, *NEEDS_MODELS, *RUNS)
        ),
    },
}


@router.get(
    "",
    summary="Describe the server",
    responses={**responses.answer(server=examples.V2_SERVER), **responses.v2_errors(*GUARDED)},
)
async def server_metadata(_request: Request) -> V2Server:
    """Its name, and what it knows beyond the protocol."""
    return V2Server(name="image-classification-service", version=VERSION, extensions=_EXTENSIONS)


@router.get(
    "/health/live",
    summary="The process lives",
    responses={**responses.answer(ok=examples.HEALTH), **responses.v2_errors(WorkerDied)},
)
async def server_live(request: Request) -> Health:
    """200 as long as the server answers at all; 503 once what runs a network has died."""
    get_state(request).check_alive()
    return Health(status="ok")


@router.get(
    "/health/ready",
    summary="The server takes work",
    responses={**responses.answer(ok=examples.HEALTH), **_NOT_READY},
)
async def server_ready(request: Request) -> Health:
    """200 from the moment every model is warm until SIGTERM."""
    get_state(request).working_service()
    return Health(status="ok")


@router.get("/models/{model}", summary="Describe a model", **_METADATA)
async def model_metadata(request: Request, model: ModelPath) -> V2Model:
    """Its versions, and what it takes and gives."""
    return _metadata(request, model)


@router.get("/models/{model}/versions/{version}", summary="Describe a version", **_METADATA)
async def model_version_metadata(request: Request, model: ModelPath, version: VersionPath) -> V2Model:
    """The same of one version."""
    return _metadata(request, model, version)


@router.get("/models/{model}/ready", summary="A model takes work", **_READY)
async def model_ready(request: Request, model: ModelPath) -> Health:
    """200 if it is served."""
    get_state(request).working_service().catalog.find(model)
    return Health(status="ok")


@router.get("/models/{model}/versions/{version}/ready", summary="A version takes work", **_READY)
async def model_version_ready(request: Request, model: ModelPath, version: VersionPath) -> Health:
    """The same of one version."""
    get_state(request).working_service().catalog.find(model, version)
    return Health(status="ok")


@router.post("/models/{model}/infer", **_INFER)
async def infer(
    request: Request, model: ModelPath, header_length: HeaderLength = None, timeout_ms: TimeoutMs = None
) -> Response:
    """One input, `image` (BYTES) or `pixels` (UINT8 [n, h, w, 3]); one output, `probabilities` (FP32)."""
    return await _infer(request, model, None, header_length, timeout_ms)


@router.post("/models/{model}/versions/{version}/infer", **_INFER)
async def infer_version(
    request: Request,
    model: ModelPath,
    version: VersionPath,
    header_length: HeaderLength = None,
    timeout_ms: TimeoutMs = None,
) -> Response:
    """The same of one version."""
    return await _infer(request, model, version, header_length, timeout_ms)


async def _infer(
    request: Request, model: str, version: int | None, header_length: str | None, timeout_ms: float | None
) -> Response:
    state = get_state(request)
    settings = state.settings
    with state.working_service().lease() as service:
        classifier = service.catalog.find(model, version)
        until = deadline(request, timeout_ms)
        service.precheck([classifier], until)
        _, body = open_body(request, settings.max_batch_request_bytes)
        received = await asyncio.to_thread(messages.parse, await read_all(body), header_length)
        wanted = _wanted(received.request)
        images = await asyncio.to_thread(tensors.images, received, settings.limits, settings.max_images)
        work = service.classify_all(images, [classifier], until)
        found = await cancel_on_disconnect(request, work)
    rows = [unwrap(outcome).probabilities[0][1] for outcome in found]
    content, json_length = await asyncio.to_thread(_render, classifier, rows, received.request, wanted)
    if json_length is None:
        return Response(content, media_type="application/json")
    return Response(content, headers={HEADER_LENGTH: str(json_length)}, media_type="application/octet-stream")


def _wanted(request: messages.InferRequest) -> RequestedOutput:
    """The one output, as it is wanted; raises BadParameter before any work is done for another."""
    wanted = request.outputs[0] if request.outputs else RequestedOutput(name=PROBABILITIES)
    if wanted.name != PROBABILITIES:
        raise BadParameter(f"outputs: there is no {wanted.name!r}; there is `{PROBABILITIES}`.")
    count = wanted.parameters.get("classification", 0)
    if type(count) is not int or count < 0:
        raise BadParameter("outputs: `classification` is the number of classes that are wanted.")
    return wanted


def _render(
    classifier: Classifier, rows: Sequence[Floats], request: messages.InferRequest, wanted: RequestedOutput
) -> tuple[bytes, int | None]:
    count = wanted.parameters.get("classification", 0)
    values = _named(classifier, rows, count) if count else np.stack(rows)
    output = Output(PROBABILITIES, values, request.is_binary(wanted))
    return messages.render(classifier.name, classifier.version, request.id, [output])


def _named(classifier: Classifier, rows: Sequence[Floats], count: int) -> Sequence[Sequence[str]]:
    """`score:index:label`, likeliest first, as Triton writes them."""
    return [[f"{score:f}:{index}:{label}" for label, index, score in classifier.top(row, count)] for row in rows]


def _metadata(request: Request, model: str, version: int | None = None) -> V2Model:
    catalog = get_state(request).working_service().catalog
    classifier = catalog.find(model, version)
    return V2Model(
        name=classifier.name,
        versions=[str(each.version) for each in catalog.classifiers if each.name == classifier.name],
        platform=classifier.extractor.engine.name,
        inputs=[
            V2Tensor(name=tensors.IMAGE, datatype="BYTES", shape=[-1]),
            V2Tensor(name=tensors.PIXELS, datatype="UINT8", shape=[-1, -1, -1, 3]),
        ],
        outputs=[V2Tensor(name=PROBABILITIES, datatype="FP32", shape=[-1, len(classifier.classes)])],
    )
