"""`/cards/NAME/VERSION`: a model card, for people."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.parameters import VersionPath
from app.page import markdown, render
from app.state import get_state

router = APIRouter(include_in_schema=False)


@router.get("/cards/{name}/{version}")
async def card(request: Request, name: str, version: VersionPath) -> Response:
    """What a model was made of, how good it is for each class, and what it is not good for."""
    found = get_state(request).working_service().catalog.find(name, version)
    return render(request, "card.html", name=found.name, version=found.version, card=markdown(found.card))
