"""The page: templates, style sheets and scripts, served as they are."""

from __future__ import annotations

import functools
from http import HTTPStatus
from typing import Any

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from markdown_it import MarkdownIt
from starlette.responses import Response


class _Revalidated(StaticFiles):
    """Files that browsers keep, but ask about each time: after an update, scripts of two versions must not meet."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def static_files() -> StaticFiles:
    """Style sheets, scripts and pictures of the page."""
    return _Revalidated(packages=[("app.page", "static")])


def render(request: Request, template: str, status: int = HTTPStatus.OK, **values: object) -> HTMLResponse:
    """Fill in a template; `root` in it is the prefix of every address, `address` the server's own."""
    root = request.scope.get("root_path", "")
    html = _templates().get_template(template).render(root=root, address=str(request.base_url).rstrip("/"), **values)
    return HTMLResponse(html, status)


def markdown(text: str) -> str:
    """CommonMark with tables -> HTML; HTML within the text is shown as it is written, never interpreted."""
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
