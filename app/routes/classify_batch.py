"""`POST /v1/classify/batch`: classify several images, with a result or an error for each."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from app.api import problems
from app.api.cancellation import cancel_on_disconnect
from app.api.classify_call import classify_upload
from app.api.fast_route import FastRoute
from app.api.model_selection import is_list, select
from app.api.parameters import Models, Threshold, TimeoutMs, TopK, Version
from app.api.results import model_result
from app.api.schemas import BatchItem, BatchResponse
from app.errors import BadParameter, BatchFailed, TooManyImages
from app.inference.result import InferenceResult, unwrap
from app.openapi import bodies, examples, responses
from app.openapi.responses import AUTH_ERRORS, QUEUE_ERRORS, READINESS_ERRORS, UPLOAD_ERRORS
from app.request_context import get_context
from app.settings import Settings
from app.state import get_state
from app.threads import run_in_request_thread
from app.uploads.budget import MemoryLease
from app.uploads.images import BatchUpload, read_files, unpack_zips
from models.classifier import Classifier
from models.errors import ModelNotFound

router = APIRouter(tags=["classify"], route_class=FastRoute)


@router.post(
    "/v1/classify/batch",
    summary="Classify several images",
    openapi_extra=bodies.IMAGES,
    response_model=BatchResponse,
    responses={
        **responses.success(batch=examples.BATCH),
        **responses.error_responses(
            "/v1/classify/batch",
            *(
                *AUTH_ERRORS,
                *UPLOAD_ERRORS,
                TooManyImages,
                ModelNotFound,
                BadParameter,
                *READINESS_ERRORS,
                *QUEUE_ERRORS,
                BatchFailed,
            ),
        ),
    },
)
async def classify_batch(
    request: Request,
    model: Models = None,
    version: Version = None,
    top_k: TopK = 5,
    threshold: Threshold = 0.0,
    timeout_ms: TimeoutMs = None,
) -> Response:
    """Classify images, sent as repeated form fields `files` or as a zip archive; each gets a result or an error."""
    classified = await classify_upload(request, lambda models: select(models, model, version), _read, timeout_ms)

    def render() -> str:
        items = [
            BatchItem(index=index, filename=name, **_outcome(request, result, is_list(model), top_k, threshold))
            for index, (name, result) in enumerate(classified.upload.merge(classified.results))
        ]
        content = BatchResponse(request_id=get_context(request).request_id, items=items)
        return content.model_dump_json(exclude_none=True)

    return Response(await run_in_request_thread(render), media_type="application/json")


async def _read(request: Request, lease: MemoryLease, settings: Settings) -> BatchUpload:
    """Read the images of a request; stop when the client disconnects. Raises as `read_files` and `unpack_zips` do."""
    files = await read_files(request, lease, settings)
    return await cancel_on_disconnect(request, unpack_zips(files, lease, settings, get_state(request).archive_threads))


def _outcome(
    request: Request, result: InferenceResult[Classifier] | Exception, as_list: bool, top_k: int, threshold: float
) -> dict[str, Any]:
    """Return the fields of one item: `result`, `results` or `error`; raises an error that is not expected."""
    if isinstance(result, problems.EXPECTED):
        return {"error": problems.report(request, result)}
    results = [model_result(*output, top_k, threshold) for output in unwrap(result).outputs]
    return {"results": results} if as_list else {"result": results[0]}
