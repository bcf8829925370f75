"""The page: templates, style sheets and scripts, served as they are."""

from __future__ import annotations

import functools
from http import HTTPStatus

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles


def static_files() -> StaticFiles:
    """Style sheets, scripts and pictures of the page."""
    return StaticFiles(packages=[("app.page", "static")])


def render(request: Request, template: str, status: int = HTTPStatus.OK, **values: object) -> HTMLResponse:
    """Fill in a template; `root` in it is the prefix of every address."""
    html = _templates().get_template(template).render(root=request.scope.get("root_path", ""), **values)
    return HTMLResponse(html, status)


@functools.cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("app.page", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
