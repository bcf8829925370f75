"""`GET /docs`: Swagger UI, with every file from this server."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.staticfiles import StaticFiles

from app.page import render

router = APIRouter(include_in_schema=False)


def swagger_files() -> StaticFiles:
    """Swagger UI's script and style sheet, as the package fastapi-swagger carries them."""
    return StaticFiles(packages=[("fastapi_swagger", "resources")])


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The API, to read and to try."""
    return render(request, "docs.html")
