"""`GET /docs`: Swagger UI, served entirely from this server."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.staticfiles import StaticFiles

from app.page import render

router = APIRouter(include_in_schema=False)


def swagger_files() -> StaticFiles:
    """Return an ASGI app that serves the script and style sheet of Swagger UI from the package fastapi-swagger."""
    return StaticFiles(packages=[("fastapi_swagger", "resources")])


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Show the API documentation."""
    return render(request, "docs.html")
