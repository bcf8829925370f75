"""The web page: templates, style sheets and scripts."""

from __future__ import annotations

import functools
from http import HTTPStatus
from pathlib import Path
from typing import Any

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from markdown_it import MarkdownIt
from starlette.responses import Response

ICON = Path(__file__).parent / "static" / "favicon.svg"


class _RevalidatedStaticFiles(StaticFiles):
    """Static files that browsers revalidate, so that an update never mixes scripts of two versions."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def static_files() -> StaticFiles:
    """Return an ASGI app that serves the style sheets, scripts and images of the page."""
    return _RevalidatedStaticFiles(packages=[("app.page", "static")])


def render(request: Request, template: str, status: int = HTTPStatus.OK, **values: object) -> HTMLResponse:
    """Render a template. In it, `root` is the path prefix of every link.

    No page has the host of the request: a shared cache could show it to others.
    """
    html = _templates().get_template(template).render(root=request.scope.get("root_path", ""), **values)
    return HTMLResponse(html, status)


def markdown(text: str) -> str:
    """Render Markdown (CommonMark with tables) as HTML. HTML in the text is escaped, never interpreted."""
    html: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return html


@functools.cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("app.page", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
