"""`/v2`: the Open Inference Protocol V2 over REST."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from app import VERSION
from app.api.classify_call import classify_upload
from app.api.fast_route import FastRoute
from app.api.parameters import HeaderLength, ModelPath, TimeoutMs, VersionPath
from app.api.schemas import V2Live, V2Model, V2ModelReady, V2Ready, V2Response, V2Server, V2Tensor
from app.errors import BadParameter, TooManyImages, WorkerDied
from app.inference.result import unwrap
from app.oip import messages, tensors
from app.oip.messages import HEADER_LENGTH, OutputTensor, RequestedOutput
from app.openapi import bodies, examples, responses
from app.openapi.responses import AUTH_ERRORS, BODY_ERRORS, DECODE_ERRORS, INFERENCE_ERRORS, READINESS_ERRORS
from app.settings import Settings
from app.state import get_state
from app.threads import run_in_request_thread
from app.uploads.body import open_body, read_all
from app.uploads.budget import MemoryLease
from models.arrays import Floats, Pixels
from models.classifier import Classifier
from models.errors import ModelNotFound

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"], route_class=FastRoute)

PROBABILITIES = "probabilities"
_EXTENSIONS = ["binary_tensor_data", "classification"]

_NOT_READY = responses.v2_error_responses(*READINESS_ERRORS)
_NOT_FOUND = responses.v2_error_responses(*AUTH_ERRORS, ModelNotFound, BadParameter, *READINESS_ERRORS)
_METADATA: Any = {"responses": {**responses.success(model=examples.V2_MODEL), **_NOT_FOUND}}
_READY: Any = {"responses": {**responses.success(ready=examples.V2_MODEL_READY), **_NOT_FOUND}}
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
        **responses.success(_JSON_LENGTH, {"application/octet-stream": bodies.BINARY}, classes=examples.V2_RESPONSE),
        **responses.v2_error_responses(
            *(
                *AUTH_ERRORS,
                *BODY_ERRORS,
                TooManyImages,
                *DECODE_ERRORS,
                ModelNotFound,
                BadParameter,
                *READINESS_ERRORS,
                *INFERENCE_ERRORS,
            )
        ),
    },
}


@router.get(
    "",
    summary="Describe the server",
    responses={
        **responses.success(server=examples.V2_SERVER),
        **responses.v2_error_responses(*AUTH_ERRORS, BadParameter),
    },
)
async def server_metadata(_request: Request) -> V2Server:
    """Return the name and version of the server, and the protocol extensions it supports."""
    return V2Server(name="image-classification-service", version=VERSION, extensions=_EXTENSIONS)


@router.get(
    "/health/live",
    summary="Check liveness",
    responses={**responses.success(live=examples.V2_LIVE), **responses.v2_error_responses(WorkerDied)},
)
async def server_live(request: Request) -> V2Live:
    """200 while the server and its workers are alive; 503 when a worker has died."""
    get_state(request).check_alive()
    return V2Live(live=True)


@router.get(
    "/health/ready",
    summary="Check readiness",
    responses={**responses.success(ready=examples.V2_READY), **_NOT_READY},
)
async def server_ready(request: Request) -> V2Ready:
    """200 from the end of the warm-up until SIGTERM."""
    get_state(request).ready_service()
    return V2Ready(ready=True)


@router.get("/models/{model}", summary="Describe a model", **_METADATA)
async def model_metadata(request: Request, model: ModelPath) -> V2Model:
    """Return the versions, inputs and outputs of a model."""
    return _metadata(request, model)


@router.get("/models/{model}/versions/{version}", summary="Describe a version", **_METADATA)
async def model_version_metadata(request: Request, model: ModelPath, version: VersionPath) -> V2Model:
    """Return the versions, inputs and outputs of a model, with one version selected."""
    return _metadata(request, model, version)


@router.get("/models/{model}/ready", summary="Check a model", **_READY)
async def model_ready(request: Request, model: ModelPath) -> V2ModelReady:
    """200 if the model is served."""
    return V2ModelReady(name=get_state(request).ready_service().models.catalog.find(model).name, ready=True)


@router.get("/models/{model}/versions/{version}/ready", summary="Check a version", **_READY)
async def model_version_ready(request: Request, model: ModelPath, version: VersionPath) -> V2ModelReady:
    """200 if this version is served."""
    return V2ModelReady(name=get_state(request).ready_service().models.catalog.find(model, version).name, ready=True)


@router.post("/models/{model}/infer", **_INFER)
async def infer(
    request: Request, model: ModelPath, header_length: HeaderLength = None, timeout_ms: TimeoutMs = None
) -> Response:
    """Classify images. Input: `image` (BYTES) or `pixels` (UINT8 [n, h, w, 3]); output: `probabilities` (FP32)."""
    return await _infer(request, model, None, header_length, timeout_ms)


@router.post("/models/{model}/versions/{version}/infer", **_INFER)
async def infer_version(
    request: Request,
    model: ModelPath,
    version: VersionPath,
    header_length: HeaderLength = None,
    timeout_ms: TimeoutMs = None,
) -> Response:
    """Classify images with one version of a model."""
    return await _infer(request, model, version, header_length, timeout_ms)


@dataclass(frozen=True)
class _InferUpload:
    """The images of an inference request and its requested output."""

    images: Sequence[bytes] | Sequence[Pixels]
    request: messages.InferRequest
    output: RequestedOutput


async def _infer(
    request: Request, model: str, version: int | None, header_length: str | None, timeout_ms: float | None
) -> Response:
    classified = await classify_upload(
        request,
        lambda models: [models.catalog.find(model, version)],
        functools.partial(_read_tensors, header_length),
        timeout_ms,
    )
    outputs = [unwrap(result).outputs[0] for result in classified.results]
    content, json_length = await run_in_request_thread(_render, outputs, classified.upload)
    if json_length is None:
        return Response(content, media_type="application/json")
    return Response(content, headers={HEADER_LENGTH: str(json_length)}, media_type="application/octet-stream")


async def _read_tensors(
    header_length: str | None, request: Request, lease: MemoryLease, settings: Settings
) -> _InferUpload:
    body = open_body(request, lease, settings.max_batch_request_bytes, settings.read_timeout_s)
    parsed = await run_in_request_thread(messages.parse_request, await read_all(body), header_length)
    output = _requested_output(parsed.request)
    images = await run_in_request_thread(tensors.read_images, parsed, settings.image_limits, settings.max_images)
    return _InferUpload(images, parsed.request, output)


def _requested_output(request: messages.InferRequest) -> RequestedOutput:
    """Return the only output with its parameters; raises BadParameter if the request names another."""
    output = request.outputs[0] if request.outputs else RequestedOutput(name=PROBABILITIES)
    if output.name != PROBABILITIES:
        raise BadParameter(f"outputs: there is no output {output.name!r}; request {PROBABILITIES!r}.")
    count = output.parameters.get("classification", 0)
    if type(count) is not int or count < 0:
        raise BadParameter("outputs: `classification` must be a number of classes, at least 0.")
    return output


def _render(outputs: Sequence[tuple[Classifier, Floats]], upload: _InferUpload) -> tuple[bytes, int | None]:
    classifier = outputs[0][0]
    rows = [probabilities for _, probabilities in outputs]
    count = upload.output.parameters.get("classification", 0)
    values = _triton_labels(classifier, rows, count) if count else np.stack(rows)
    output = OutputTensor(PROBABILITIES, values, upload.request.wants_binary(upload.output))
    return messages.render_response(classifier.name, classifier.version, upload.request.id, [output])


def _triton_labels(classifier: Classifier, rows: Sequence[Floats], count: int) -> Sequence[Sequence[str]]:
    """Format the top classes as Triton does, `score:index:label`, highest score first."""
    return [[f"{score:f}:{index}:{label}" for label, index, score in classifier.top(row, count)] for row in rows]


def _metadata(request: Request, model: str, version: int | None = None) -> V2Model:
    catalog = get_state(request).ready_service().models.catalog
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
