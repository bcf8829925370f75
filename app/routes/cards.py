"""`/cards/NAME/VERSION`: a model card, for people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.page import markdown, render
from app.state import ServiceDep

router = APIRouter(include_in_schema=False)


@router.get("/cards/{name}/{version}")
async def card(request: Request, service: ServiceDep, name: str, version: Annotated[int, Path(ge=1)]) -> Response:
    """What a model was made of, how good it is for each class, and what it is not good for."""
    found = service.catalog.find(name, version)
    return render(request, "card.html", name=found.name, version=found.version, card=markdown(found.card))
