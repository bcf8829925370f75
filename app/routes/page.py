"""`/`: the upload page, a plain form that needs no JavaScript."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app import preview, problems, uploads
from app.disconnect import unless_gone
from app.page import render
from app.routes.classify import answer, server_timing, timed
from app.selection import select
from app.state import DeadlineDep, State, StateDep, elapsed_s
from models.classifier import Classifier
from models.image import FORMATS

router = APIRouter(include_in_schema=False)

_SHOWN = 5


@router.head("/")
@router.get("/")
async def form(request: Request, state: StateDep) -> Response:
    """The empty form; while the models are being loaded, a page that says so and comes back."""
    return _page(request, state)


@router.post("/")
async def submit(request: Request, state: StateDep, deadline: DeadlineDep) -> Response:
    """The form again, with the picture and its five likeliest classes, or with what went wrong."""
    try:
        result = await _classify(request, state, deadline)
    except problems.EXPECTED as error:
        problem = problems.note(request, error)
        return _page(request, state, problem.status, problem=problem)
    answered = f"{result['answer'].model}@{result['answer'].version}"
    response = _page(request, state, result=result, chosen=answered)
    response.headers["Server-Timing"] = server_timing(result["timing"])
    return response


@router.get("/favicon.ico")
async def favicon(request: Request) -> Response:
    """For browsers that ask without looking at the page."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/static/favicon.svg", 301)


async def _classify(request: Request, state: State, deadline: float | None) -> dict[str, Any]:
    service = state.working_service()
    upload = await uploads.read(request, state.settings.max_body_bytes)
    selection = select(service.catalog, service.default, upload.fields.get("model"), None)
    classifier = selection.classifiers[0]

    async def work() -> dict[str, Any]:
        classified = await service.classify(upload.image, [classifier], deadline)
        picture = await service.in_thread(preview.data_uri, upload.image, state.settings.limits)
        return {
            "picture": picture,
            "answer": answer(*classified.answers[0], _SHOWN, 0.0),
            "timing": timed(classified, elapsed_s(request)),
        }

    return await unless_gone(request, work())


def _page(request: Request, state: State, status: int = 200, **shown: object) -> Response:
    is_answer = bool(shown)  # to a request that was accepted before the server began to drain
    service = state.service if state.lifecycle.ready or is_answer else None
    values = {
        "models": [_option(classifier) for classifier in service.catalog.classifiers] if service else [],
        "chosen": _option(service.default)["value"] if service else None,
        "formats": FORMATS,
        "address": str(request.base_url).rstrip("/"),
        "result": None,
        "problem": None,
        **shown,
    }
    response = render(request, "index.html", status if service or is_answer else 503, **values)
    if response.status_code == 503:
        response.headers["Retry-After"] = str(problems.RETRY_AFTER_S)
    return response


def _option(classifier: Classifier) -> dict[str, str]:
    classes = len(classifier.classes)
    return {
        "value": f"{classifier.name}@{classifier.version}",
        "label": f"{classifier.name} (version {classifier.version}, {classes} classes)",
    }
