"""The steps that every route which classifies images shares, from the leased service to the results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from fastapi import Request

from app.api.cancellation import cancel_on_disconnect
from app.inference.image_task import Image
from app.inference.model_loading import LoadedModels
from app.inference.result import InferenceResult, unwrap
from app.request_context import get_context
from app.settings import Settings
from app.state import get_state
from app.uploads.budget import MemoryLease
from models.classifier import OutputConsumer

R = TypeVar("R", bound=OutputConsumer)


class HasImages(Protocol):
    """An upload of one or several images."""

    @property
    def images(self) -> Sequence[Image]:
        """The images, in their order."""


U = TypeVar("U", bound=HasImages)


@dataclass(frozen=True)
class ClassifiedUpload(Generic[U, R]):
    """An upload and, for each of its images, the result or the error."""

    upload: U
    results: Sequence[InferenceResult[R] | Exception]

    def single(self) -> InferenceResult[R]:
        """Return the result of the only image; raises its error."""
        (result,) = self.results
        return unwrap(result)


async def classify_upload(
    request: Request,
    select: Callable[[LoadedModels], Sequence[R]],
    read: Callable[[Request, MemoryLease, Settings], Awaitable[U]],
    timeout_ms: float | None,
) -> ClassifiedUpload[U, R]:
    """Select the consumers, reject early if the queue is full, read the images and classify them.

    Args:
        request: the request; when its client disconnects, the work is cancelled.
        select: chooses classifiers or embeddings among the loaded models.
        read: reads the images from the body.
        timeout_ms: milliseconds from the start of the request; None for the default timeout.

    Raises:
        NotReady, Draining, WorkerDied: no service accepts requests.
        ClientDisconnect: the client disconnected.
        Exception: what `select`, `read`, `Service.precheck` and `Service.classify` raise.
    """
    state, context = get_state(request), get_context(request)
    deadline = context.deadline(timeout_ms or state.settings.deadline_ms)
    with state.lease_service() as service:
        consumers = select(service.models)
        service.precheck(consumers, deadline)
        upload = await read(request, context.lease, state.settings)
        results = await cancel_on_disconnect(request, service.classify(upload.images, consumers, deadline))
    return ClassifiedUpload(upload, results)
