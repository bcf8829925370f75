"""`/v1/models/{name}/load` and `/unload`: what is served, changed by operators with an admin key.

Not part of the OpenAPI document, which is for those who ask; docs/operations.md has them.
"""

from __future__ import annotations

from fastapi import APIRouter

from app.errors import Conflict, NotReady
from app.parameters import ModelPath, Version
from app.reload import Reloader
from app.routes.models import list_models
from app.schemas import ModelList
from app.security import AdminDep
from app.state import ServiceDep, State, StateDep
from models.errors import ModelNotFound, ModelsError

router = APIRouter(include_in_schema=False)


@router.post("/v1/models/{name}/unload")
async def unload(
    _admin: AdminDep, state: StateDep, service: ServiceDep, name: ModelPath, version: Version = None
) -> ModelList:
    """Serve the model, or one version of it, no longer; the store stays as it is. What is left is told."""
    service.catalog.find(name, version)
    gone = {(each.name, each.version) for each in service.catalog.classifiers if each.name == name}
    await _serve(_reloader(state), state.hidden | {each for each in gone if version in (None, each[1])})
    return await list_models(state.working_service())


@router.post("/v1/models/{name}/load")
async def load(
    _admin: AdminDep, state: StateDep, _service: ServiceDep, name: ModelPath, version: Version = None
) -> ModelList:
    """Serve it again, or from now on, as the store has it. What is served is told."""
    kept = {each for each in state.hidden if each[0] != name or version not in (None, each[1])}
    await _serve(_reloader(state), frozenset(kept))
    service = state.working_service()
    service.catalog.find(name, version)
    return await list_models(service)


async def _serve(reloader: Reloader, hidden: frozenset[tuple[str, int]]) -> None:
    try:
        await reloader.hide(hidden)
    except ModelNotFound as error:
        raise Conflict(f"Nothing has changed: {error}") from error
    except ModelsError as error:
        raise Conflict(f"The store cannot be taken up, and nothing has changed: {error}") from error


def _reloader(state: State) -> Reloader:
    if state.reloader is None:
        raise NotReady("The models are still being loaded. Try again in a few seconds.")
    return state.reloader
