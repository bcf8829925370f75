"""`POST /v1/embed`: an image in, the features of the network out."""

from __future__ import annotations

from enum import StrEnum
from io import BytesIO

import numpy as np
from fastapi import APIRouter, Request, Response

from app.api.cancellation import cancel_on_disconnect
from app.api.fast_route import FastRoute
from app.api.model_selection import select_one
from app.api.parameters import Model, TimeoutMs, Version
from app.api.schemas import Features
from app.errors import BadParameter
from app.openapi import bodies, examples, responses
from app.openapi.responses import DECODES, GUARDED, NEEDS_MODELS, READS_UPLOAD, RUNS, SERVER_TIMING
from app.routes.classify import server_timing, timed
from app.state import deadline, elapsed_s, get_state
from app.uploads import image as uploads
from models.classifier import Embedding
from models.errors import ModelNotFound
from models.heads import Floats

router = APIRouter(tags=["classify"], route_class=FastRoute)


class _Kind(StrEnum):
    JSON = "application/json"
    BYTES = "application/octet-stream"
    NPY = "application/x-npy"


@router.post(
    "/v1/embed",
    summary="Give the features of an image",
    openapi_extra=bodies.IMAGE,
    response_model=Features,
    responses={
        **responses.answer(
            SERVER_TIMING, {_Kind.BYTES: bodies.BINARY, _Kind.NPY: bodies.BINARY}, features=examples.FEATURES
        ),
        **responses.errors(
            "/v1/embed", *GUARDED, *READS_UPLOAD, *DECODES, ModelNotFound, BadParameter, *NEEDS_MODELS, *RUNS
        ),
    },
)
async def embed(
    request: Request,
    model: Model = None,
    version: Version = None,
    timeout_ms: TimeoutMs = None,
) -> Response:
    """Pooled features, float32, of the image as `model` would see it.

    JSON; with `Accept: application/octet-stream` their little-endian bytes, with `application/x-npy` a file of NumPy's.
    """
    state = get_state(request)
    with state.working_service().lease() as service:
        classifier = select_one(service.catalog, service.default, model, version)
        reader, until = Embedding(classifier.extractor, classifier.spec), deadline(request, timeout_ms)
        service.precheck([reader], until)
        upload = await uploads.read(request, state.settings.max_body_bytes)
        work = service.classify(upload.image, [reader], until)
        answered = await cancel_on_disconnect(request, work)
    features = answered.probabilities[0][1].astype("<f4")
    timing = timed(answered, elapsed_s(request))
    kind = _kind(request.headers.get("accept", ""))
    headers = {"Server-Timing": server_timing(timing), "Vary": "Accept"}
    if kind is not _Kind.JSON:
        return Response(_npy(features) if kind is _Kind.NPY else features.tobytes(), headers=headers, media_type=kind)
    manifest = classifier.extractor.manifest
    body = Features(
        extractor=manifest.name,
        version=manifest.version,
        request_id=request.state.request_id,
        features=features.tolist(),
        timing_ms=timing,
        batch_size=answered.batch_size,
    )
    return Response(body.model_dump_json(), headers=headers, media_type=kind)


def _kind(accept: str) -> _Kind:
    """The first kind that the client names; JSON where it names none of them."""
    named = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return next((kind for part in named for kind in _Kind if kind == part), _Kind.JSON)


def _npy(features: Floats) -> bytes:
    buffer = BytesIO()
    np.save(buffer, features, allow_pickle=False)
    return buffer.getvalue()
