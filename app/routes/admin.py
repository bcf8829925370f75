"""`/v1/models/{name}/load` and `/unload`: change which models are served; needs an admin key.

These routes are left out of the OpenAPI document, which is for clients; docs/operations.md documents them.
"""

from __future__ import annotations

from fastapi import APIRouter, Request

from app.api.checked_route import CheckedRoute
from app.api.parameters import ModelPath, Version
from app.api.schemas import ModelList
from app.middleware.auth import AdminDep
from app.routes.models import list_models
from app.state import get_state

router = APIRouter(include_in_schema=False, route_class=CheckedRoute)


@router.post("/v1/models/{name}/unload")
async def unload(request: Request, _admin: AdminDep, name: ModelPath, version: Version = None) -> ModelList:
    """Stop serving a model, or one version of it, and list the remaining models; the store stays unchanged."""
    state = get_state(request)
    await state.manager.unload(name, version, state.ready_service)
    return await list_models(request)


@router.post("/v1/models/{name}/load")
async def load(request: Request, _admin: AdminDep, name: ModelPath, version: Version = None) -> ModelList:
    """Serve a model, or one version of it, from the store, and list the served models."""
    state = get_state(request)
    await state.manager.load(name, version, state.ready_service)
    state.ready_service().models.catalog.find(name, version)
    return await list_models(request)
