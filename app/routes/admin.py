"""`/v1/models/{name}/load` and `/unload`: what is served, changed by operators with an admin key.

Not part of the OpenAPI document, which is for those who ask; docs/operations.md has them.
"""

from __future__ import annotations

from fastapi import APIRouter, Request

from app.api.parameters import ModelPath, Version
from app.api.schemas import ModelList
from app.errors import NotReady
from app.inference.model_manager import ModelManager
from app.middleware.auth import AdminDep
from app.routes.models import list_models
from app.state import AppState, get_state

router = APIRouter(include_in_schema=False)


@router.post("/v1/models/{name}/unload")
async def unload(request: Request, _admin: AdminDep, name: ModelPath, version: Version = None) -> ModelList:
    """Serve the model, or one version of it, no longer; the store stays as it is. What is left is told."""
    await _reloader(get_state(request)).unload(name, version)
    return await list_models(request)


@router.post("/v1/models/{name}/load")
async def load(request: Request, _admin: AdminDep, name: ModelPath, version: Version = None) -> ModelList:
    """Serve it again, or from now on, as the store has it. What is served is told."""
    state = get_state(request)
    await _reloader(state).load(name, version)
    state.working_service().catalog.find(name, version)
    return await list_models(request)


def _reloader(state: AppState) -> ModelManager:
    state.working_service()  # nothing is changed before there is one, nor while it ends
    if state.reloader is None:
        raise NotReady("The models are still being loaded. Try again in a few seconds.")
    return state.reloader
