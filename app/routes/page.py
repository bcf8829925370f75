"""`/`: the upload page, a plain form that needs no JavaScript and does more where there is some."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from app.api import problems
from app.api.cancellation import cancel_on_disconnect
from app.api.model_selection import select
from app.api.parameters import TimeoutMs
from app.decoding import thumbnail as preview
from app.inference.service import Service
from app.middleware.auth import anonymous_caller, authenticate
from app.page import render
from app.page.examples import EXAMPLES
from app.routes.classify import answer, server_timing, timed
from app.state import AppState, deadline, elapsed_s, get_state
from app.uploads import image as uploads
from app.uploads.image import Upload
from models.classifier import Classifier
from models.decoding.image import FORMATS
from models.heads import Floats

router = APIRouter(include_in_schema=False)

_SHOWN = 5
_SURE = 0.5
_SAMPLE = 6


@router.head("/")
@router.get("/")
async def form(request: Request) -> Response:
    """The empty form; while the models are being loaded, a page that says so and comes back."""
    return _page(request, get_state(request))


@router.post("/")
async def submit(request: Request, timeout_ms: TimeoutMs = None) -> Response:
    """The form again, with the picture and its five likeliest classes, or with what went wrong."""
    state = get_state(request)
    chosen: dict[str, Any] = {}
    left: dict[str, str] = {}
    try:
        with state.working_service().lease() as service:
            async with AsyncExitStack() as admitted:
                upload = await _upload(request, state, admitted, left)
                chosen = {"chosen": upload.all("model")}
                shown = await _classify(request, service, upload, deadline(request, timeout_ms))
    except problems.EXPECTED as error:
        problem = problems.note(request, error)
        response = _page(request, state, problem.status, problem=problem, **chosen)
        response.headers.update({**left, **problems.headers_of(problem.status, error)})
        return response
    response = _page(request, state, **shown)
    response.headers.update({**left, "Server-Timing": server_timing(shown["timing"])})
    return response


@router.get("/favicon.ico")
async def favicon(request: Request) -> Response:
    """For browsers that ask without looking at the page."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/static/favicon.svg", 301)


async def _upload(request: Request, state: AppState, admitted: AsyncExitStack, left: dict[str, str]) -> Upload:
    """The form, whose key is known only when it was read: until then its address is what counts."""
    access = state.access
    left |= await admitted.enter_async_context(access.acquire(anonymous_caller(request.scope, access)))
    upload = await uploads.read(request, state.settings.max_body_bytes)
    caller = authenticate(request.scope, access, next(iter(upload.all("key")), None))
    if access.needs_key:
        left |= await admitted.enter_async_context(access.acquire(caller))
    return upload


async def _classify(request: Request, service: Service, upload: Upload, until: float | None) -> dict[str, Any]:
    classifiers = select(service.catalog, service.default, ",".join(upload.all("model")) or None, None).classifiers

    async def work() -> dict[str, Any]:
        classified = await service.classify(upload.image, classifiers, until)
        return {
            "picture": await preview.data_uri(upload.image, service.limits, service.decoder),  # what it shows is known
            "results": _results(classified.probabilities),
            "timing": timed(classified, elapsed_s(request)),
            "batch_size": classified.batch_size,
            "chosen": [_value(classifier) for classifier in classifiers],
        }

    return await cancel_on_disconnect(request, work())


def _results(answers: Sequence[tuple[Classifier, Floats]]) -> list[dict[str, Any]]:
    results = []
    for classifier, probabilities in answers:
        top = classifier.top(probabilities, 1)[0]
        verdict = f"Most likely: {top[0]}" if top[2] >= _SURE else f"Not sure, perhaps: {top[0]}"
        results.append(
            {
                "name": classifier.name,
                "version": classifier.version,
                "classes": len(classifier.classes),
                "predictions": answer(classifier, probabilities, _SHOWN, 0.0).predictions,
                "verdict": verdict,
                "heading": verdict if len(answers) == 1 else f"{classifier.name}: {top[0]}",
            }
        )
    return results


def _page(request: Request, state: AppState, status: int = 200, **shown: object) -> Response:
    is_answer = bool(shown)  # to a request that was accepted before the server began to drain
    service = state.service if state.lifecycle.ready or is_answer else None
    values = {
        "models": _models(service) if service else [],
        "chosen": [_value(service.default)] if service else [],
        "formats": FORMATS,
        "examples": EXAMPLES,
        "default": service.default.name if service else None,
        "sure": round(_SURE * 100),
        "max_bytes": state.settings.max_body_bytes,
        "needs_key": state.access.needs_key,
        "results": [],
        "problem": None,
        **shown,
    }
    response = render(request, "index.html", status if service or is_answer else 503, **values)
    if response.status_code == 503:
        response.headers["Retry-After"] = str(problems.retry_after_s())
    return response


def _models(service: Service) -> list[dict[str, Any]]:
    return [
        {
            "value": _value(classifier),
            "name": classifier.name,
            "version": classifier.version,
            "title": classifier.card.partition("\n")[0].lstrip("# "),
            "classes": len(classifier.classes),
            "sample": classifier.classes[:_SAMPLE],
            "newest": classifier is service.catalog.find(classifier.name),
        }
        for classifier in service.catalog.classifiers
    ]


def _value(classifier: Classifier) -> str:
    return f"{classifier.name}@{classifier.version}"
