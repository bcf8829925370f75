"""`/v1/models/{name}/load` and `/unload`: what is served, changed by operators with an admin key.

Not part of the OpenAPI document, which is for those who ask; docs/operations.md has them.
"""

from __future__ import annotations

from fastapi import APIRouter

from app.errors import NotReady
from app.parameters import ModelPath, Version
from app.reload import Reloader
from app.routes.models import list_models
from app.schemas import ModelList
from app.security import AdminDep
from app.state import ServiceDep, State, StateDep

router = APIRouter(include_in_schema=False)


@router.post("/v1/models/{name}/unload")
async def unload(
    _admin: AdminDep, state: StateDep, _service: ServiceDep, name: ModelPath, version: Version = None
) -> ModelList:
    """Serve the model, or one version of it, no longer; the store stays as it is. What is left is told."""
    await _reloader(state).unload(name, version)
    return await list_models(state.working_service())


@router.post("/v1/models/{name}/load")
async def load(
    _admin: AdminDep, state: StateDep, _service: ServiceDep, name: ModelPath, version: Version = None
) -> ModelList:
    """Serve it again, or from now on, as the store has it. What is served is told."""
    await _reloader(state).load(name, version)
    service = state.working_service()
    service.catalog.find(name, version)
    return await list_models(service)


def _reloader(state: State) -> Reloader:
    if state.reloader is None:
        raise NotReady("The models are still being loaded. Try again in a few seconds.")
    return state.reloader
