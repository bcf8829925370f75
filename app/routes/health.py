"""Probes, never behind a key: does the process live, and does it take work?"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from app.api.schemas import Health
from app.errors import WorkerDied
from app.openapi import examples, responses
from app.openapi.responses import NEEDS_MODELS
from app.state import get_state

router = APIRouter(tags=["health"])

_READY: Any = {
    "summary": "The server takes work",
    "responses": {**responses.answer(ok=examples.HEALTH), **responses.errors("/readyz", *NEEDS_MODELS)},
}


@router.head("/livez", include_in_schema=False)
@router.get(
    "/livez",
    summary="The process lives",
    responses={**responses.answer(ok=examples.HEALTH), **responses.errors("/livez", WorkerDied)},
)
async def livez(request: Request) -> Health:
    """200 as long as the server answers at all; 503 once a part has died that it cannot do without."""
    get_state(request).check_alive()
    return Health(status="ok")


@router.head("/healthz", include_in_schema=False)
@router.head("/readyz", include_in_schema=False)
@router.get("/healthz", operation_id="healthz", **_READY)
@router.get("/readyz", operation_id="readyz", **_READY)
async def readyz(request: Request) -> Health:
    """200 from the moment every model is warm until SIGTERM; 503 before and after."""
    get_state(request).working_service()
    return Health(status="ok")
