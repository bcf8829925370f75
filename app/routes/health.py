"""Probes, never behind a key: does the process live, and does it take work?"""

from __future__ import annotations

from fastapi import APIRouter

from app.problems import documented
from app.schemas import Health
from app.state import ServiceDep

router = APIRouter(tags=["health"])


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="The process lives")
async def livez() -> Health:
    """200 as long as the server answers at all."""
    return Health(status="ok")


@router.head("/healthz", include_in_schema=False)
@router.head("/readyz", include_in_schema=False)
@router.get("/healthz", summary="The server takes work", responses=documented(503), operation_id="healthz")
@router.get("/readyz", summary="The server takes work", responses=documented(503), operation_id="readyz")
async def readyz(_service: ServiceDep) -> Health:
    """200 from the moment every model is warm until SIGTERM; 503 before and after."""
    return Health(status="ok")
