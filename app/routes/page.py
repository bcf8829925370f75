"""`/` and `/cards`: the upload page, which works as a plain form without JavaScript, and the model cards."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from app.api import problems
from app.api.cancellation import cancel_on_disconnect
from app.api.model_selection import select
from app.api.parameters import TimeoutMs, VersionPath
from app.api.results import model_result, timing
from app.asgi import request_header
from app.decoding import thumbnail
from app.errors import Unauthorized
from app.inference.model_loading import LoadedModels
from app.inference.result import unwrap
from app.inference.service import Service
from app.middleware.auth import anonymous_caller, authenticate, has_key_header
from app.page import ICON, markdown, render
from app.page.examples import EXAMPLES
from app.request_context import get_context
from app.state import AppState, get_state
from app.uploads.body import media_type
from app.uploads.image import Upload, read_image
from app.uploads.multipart import LeadingField
from models.arrays import Floats
from models.classifier import Classifier
from models.decoding.image import FORMATS
from models.hierarchy import SURE, lead

router = APIRouter(include_in_schema=False)

_FORM_PARAMETERS = ("model", "key")
_KEY_ADVICE = (
    "An API key is required. Enter it above the image. Programs send it as X-API-Key: KEY, or in the form field `key` "
    "before the file."
)
_TOP_K = 5
_SAMPLE_CLASSES = 6


@router.get("/")
async def form(request: Request) -> Response:
    """Show the empty form, or, while the models are loading, a page that reloads itself."""
    return _page(request, get_state(request))


@router.post("/")
async def submit(request: Request, timeout_ms: TimeoutMs = None) -> Response:
    """Show the form with the image and its five most likely classes, or with the error."""
    state = get_state(request)
    values: dict[str, Any] = {}
    rate_limit_headers: dict[str, str] = {}
    try:
        with state.lease_service() as service:
            async with AsyncExitStack() as limits:
                upload = await _read_form(request, state, limits, rate_limit_headers)
                values = {"selected": upload.all("model")}
                values = await _classify(request, service, upload, timeout_ms or state.settings.deadline_ms)
    except problems.EXPECTED as error:
        problem = problems.report(request, error)
        response = _page(request, state, problem.status, problem=problem, **values)
        response.headers.update({**rate_limit_headers, **problems.error_headers(problem.status, error)})
        return response
    response = _page(request, state, **values)
    response.headers.update({**rate_limit_headers, "Server-Timing": values["timing"].server_timing})
    return response


@router.get("/cards/{name}/{version}")
async def card(request: Request, name: str, version: VersionPath) -> Response:
    """Show a model card: what the model was trained on, its accuracy for each class and its limits."""
    model = get_state(request).ready_service().models.catalog.find(name, version)
    return render(request, "card.html", name=model.name, version=model.version, card=markdown(model.card))


@router.get("/favicon.ico")
async def favicon() -> Response:
    """Return the icon to browsers that request it at its traditional address."""
    return FileResponse(ICON, media_type="image/svg+xml")


async def _read_form(
    request: Request, state: AppState, limits: AsyncExitStack, rate_limit_headers: dict[str, str]
) -> Upload:
    """Read the form and enforce the limits: of the address before reading, of the key before reading the image.

    Until the key is checked, the form occupies only the budget of those without one.
    """
    access, context = state.access, get_context(request)
    rate_limit_headers |= await limits.enter_async_context(access.acquire(anonymous_caller(request.scope, access)))

    async def check_key(key: str | None) -> None:
        if not key and not has_key_header(request.scope):
            raise Unauthorized(_KEY_ADVICE)
        caller = authenticate(request.scope, access, key)
        rate_limit_headers.update(await limits.enter_async_context(access.acquire(caller)))
        context.lease.move_to(state.budget)

    leading_field = None
    if not access.needs_key:
        authenticate(request.scope, access)
    elif has_key_header(request.scope) or not _is_plain_form(request):
        await check_key(None)
    else:
        context.lease, leading_field = state.keyless_budget.lease(), LeadingField("key", check_key)
    return await read_image(request, context.lease, state.settings, _FORM_PARAMETERS, leading_field)


def _is_plain_form(request: Request) -> bool:
    """Return True if the body may begin with the key: a form, uncompressed as browsers send it."""
    return media_type(request) == "multipart/form-data" and not request_header(request.scope, b"content-encoding")


async def _classify(request: Request, service: Service, upload: Upload, timeout_ms: float | None) -> dict[str, Any]:
    """Classify the uploaded image and return the values for the template."""
    context = get_context(request)
    classifiers = select(service.models, ",".join(upload.all("model")) or None, None)

    async def work() -> dict[str, Any]:
        results = await service.classify(upload.images, classifiers, context.deadline(timeout_ms))
        result = unwrap(results[0])
        return {
            "thumbnail": await thumbnail.data_uri(upload.image, service.image_limits, service.decoder),
            "results": _results(result.outputs),
            "timing": timing(result, context.elapsed_s()),
            "batch_size": result.batch_size,
            "selected": [_model_value(classifier) for classifier in classifiers],
        }

    return await cancel_on_disconnect(request, work())


def _results(outputs: Sequence[tuple[Classifier, Floats]]) -> list[dict[str, Any]]:
    results = []
    for classifier, probabilities in outputs:
        result = model_result(classifier, probabilities, _TOP_K, 0.0)
        classes = [(each.label, each.score) for each in result.predictions]
        best = label, score = lead(classes[0], [(each.label, each.score) for each in result.parents or ()])
        verdict = f"Most likely: {label}" if score >= SURE else f"Not sure, perhaps: {label}"
        results.append(
            {
                "name": classifier.name,
                "version": classifier.version,
                "classes": len(classifier.classes),
                "bars": classes if best == classes[0] else [best, *classes],
                "verdict": verdict,
                "heading": verdict if len(outputs) == 1 else f"{classifier.name}: {label}",
            }
        )
    return results


def _page(request: Request, state: AppState, status: int = 200, **values: object) -> Response:
    """Render the page; with values it is the response to a form, which may finish while the server drains."""
    is_response = bool(values)
    models = state.manager.service.models if state.manager.service else None
    if not (state.lifecycle.is_ready or is_response):
        models = None
    defaults = {
        "models": _models(models) if models else [],
        "selected": [_model_value(models.default)] if models else [],
        "formats": FORMATS,
        "examples": EXAMPLES,
        "default": models.default.name if models else None,
        "threshold_percent": round(SURE * 100),
        "max_bytes": state.settings.max_body_bytes,
        "needs_key": state.access.needs_key,
        "results": [],
        "problem": None,
    }
    response = render(request, "index.html", status if models or is_response else 503, **{**defaults, **values})
    if response.status_code == 503:
        response.headers["Retry-After"] = str(problems.retry_after_s())
    return response


def _models(models: LoadedModels) -> list[dict[str, Any]]:
    return [
        {
            "value": _model_value(classifier),
            "name": classifier.name,
            "version": classifier.version,
            "title": classifier.card.partition("\n")[0].lstrip("# "),
            "classes": len(classifier.classes),
            "sample": classifier.classes[:_SAMPLE_CLASSES],
            "newest": classifier is models.catalog.find(classifier.name),
        }
        for classifier in models.catalog.classifiers
    ]


def _model_value(classifier: Classifier) -> str:
    return f"{classifier.name}@{classifier.version}"
