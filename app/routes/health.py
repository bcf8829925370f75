"""Liveness and readiness probes, which never require a key."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from app.api.schemas import Health
from app.errors import WorkerDied
from app.openapi import examples, responses
from app.openapi.responses import READINESS_ERRORS
from app.state import get_state

router = APIRouter(tags=["health"])

_READY: Any = {
    "summary": "Check readiness",
    "responses": {**responses.success(ok=examples.HEALTH), **responses.error_responses("/readyz", *READINESS_ERRORS)},
}


@router.get(
    "/livez",
    summary="Check liveness",
    responses={**responses.success(ok=examples.HEALTH), **responses.error_responses("/livez", WorkerDied)},
)
async def livez(request: Request) -> Health:
    """200 while the server and its workers are alive; 503 when a worker has died."""
    get_state(request).check_alive()
    return Health(status="ok")


@router.get("/healthz", operation_id="healthz", **_READY)
@router.get("/readyz", operation_id="readyz", **_READY)
async def readyz(request: Request) -> Health:
    """200 from the end of the warm-up until SIGTERM; 503 before and after."""
    get_state(request).ready_service()
    return Health(status="ok")
