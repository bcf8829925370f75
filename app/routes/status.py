"""`GET /v1/status`: what the server is doing, and what it has learned from its batches."""

from __future__ import annotations

from fastapi import APIRouter, Request

from app.api.checked_route import CheckedRoute
from app.api.schemas import ExtractorStatus, ModelVersion, Status
from app.batching.status import BatchingStatus
from app.errors import BadParameter
from app.openapi import examples, responses
from app.openapi.responses import AUTH_ERRORS, READINESS_ERRORS
from app.state import get_state
from models.classifier import Extractor
from models.decoding.resample import resizer_name

router = APIRouter(tags=["health"], route_class=CheckedRoute)


@router.get(
    "/v1/status",
    summary="Show the state of the server",
    responses={
        **responses.success(status=examples.STATUS),
        **responses.error_responses("/v1/status", *AUTH_ERRORS, BadParameter, *READINESS_ERRORS),
    },
)
async def status(request: Request) -> Status:
    """Return the served versions, and for each extractor its engine, its queue and its expected batch times."""
    state = get_state(request)
    service = state.ready_service()
    return Status(
        requests_in_flight=state.lifecycle.requests_in_flight,
        resizer=resizer_name(),
        models=[ModelVersion(name=model.name, version=model.version) for model in service.models.catalog.classifiers],
        extractors=[_describe(extractor, batching) for extractor, batching in service.batching_status()],
    )


def _describe(extractor: Extractor, batching: BatchingStatus) -> ExtractorStatus:
    return ExtractorStatus(
        name=extractor.manifest.name,
        engine=extractor.engine.name,
        waiting=batching.waiting,
        free=batching.free,
        capacity=batching.capacity,
        full_batch=batching.target_size,
        single_image_ms=_ms(batching.single_s),
        full_batch_ms=_ms(batching.full_s),
        pace=round(batching.pace, 3),
        concurrency=round(batching.concurrency, 3),
        deadline_margin_ms=_ms(batching.margin_s),
    )


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)
