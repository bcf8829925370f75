"""One image of a request: have it decoded and preprocessed, queue a row for each group, and collect the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.batching.batcher import Batcher
from app.batching.request import BatchResult, PendingItem
from app.decoding.decoder import ImageDecoder
from app.decoding.job import DecodeJob, RequestKey
from models.arrays import Floats, Pixels
from models.classifier import BatchItem, Extractor, OutputConsumer
from models.decoding.limits import Limits
from models.decoding.protocol import DecodeRequest, ResponseHeader
from models.decoding.resize import ResizeSpec
from models.errors import HeadFailed
from models.preprocess import PreprocessSpec, resize_all, split_buffer

R = TypeVar("R", bound=OutputConsumer)

Image = bytes | Pixels
"""An encoded image, or RGB pixels, uint8 [height, width, 3]."""

Groups = Mapping[tuple[Extractor, PreprocessSpec], tuple[R, ...]]
"""Consumers that share an extractor and a preprocess spec, and so one row of a batch for each image."""

RowResult = tuple[Floats | HeadFailed, ...]
"""For each consumer of a row its output, or the error of its head."""

Batchers = dict[Extractor, Batcher[BatchItem, RowResult]]
PendingRow = PendingItem[BatchItem, RowResult]


@dataclass(frozen=True)
class _Row(Generic[R]):
    """A row of a batch that the image becomes."""

    pending: PendingRow
    resize_spec: ResizeSpec
    consumers: tuple[R, ...]


async def classify_image(
    image: Image,
    groups: Groups[R],
    pending: Sequence[PendingRow],
    request: RequestKey,
    *,
    limits: Limits,
    decoder: ImageDecoder,
    on_decoded: Callable[[float], None],
) -> tuple[float, list[BatchResult[RowResult]]]:
    """Decode and preprocess an image, and wait for its row of each group.

    Args:
        image: the encoded or decoded image.
        groups: the groups of consumers.
        pending: a reserved item for each group, in the same order.
        request: identifies the request in the queue of the decode workers.
        limits: limits of an encoded image.
        decoder: decodes and preprocesses the image.
        on_decoded: called with the seconds that this took, from any thread.

    Returns:
        The seconds that decoding and preprocessing took, and the result of each group.

    Raises:
        ImageError: the image is invalid.
        BatcherClosed: the server is shutting down.
        Exception: what `PendingItem.result` raises.
    """
    task = _ImageTask(image, groups, pending, limits, decoder, on_decoded)
    try:
        task.start(request)
        rows = [await item.result() for item in pending]
        return task.decode_s, rows
    finally:
        task.finish()


class _ImageTask(Generic[R]):
    """The work on one image, from its bytes to its queued rows. Only `_preprocess` runs in another thread."""

    def __init__(
        self,
        image: Image,
        groups: Groups[R],
        pending: Sequence[PendingRow],
        limits: Limits,
        decoder: ImageDecoder,
        on_decoded: Callable[[float], None],
    ) -> None:
        """Create the task; nothing begins before `start`. `classify_image` describes the arguments."""
        self.decode_s = 0.0
        self._image: Image | None = image
        self._rows = [
            _Row(item, spec.resize_spec, consumers)
            for ((_, spec), consumers), item in zip(groups.items(), pending, strict=True)
        ]
        self._limits, self._decoder, self._on_decoded = limits, decoder, on_decoded
        self._job: DecodeJob | None = None

    def start(self, request: RequestKey) -> None:
        """Begin to decode and preprocess; `finish` must follow. Raises BatcherClosed."""
        if isinstance(self._image, bytes):
            options = DecodeRequest(tuple({row.resize_spec for row in self._rows}), self._limits)
            self._job = DecodeJob(request, options, self._image, self._on_response, self._fail, self._on_moved)
            self._decoder.submit(self._job)
        else:
            self._decoder.run_in_thread(self._preprocess)

    def finish(self) -> None:
        """Cancel what is not done, and drop the image: timers and tracebacks may refer to this task for a while."""
        if self._job and self._job.is_active:
            self._decoder.cancel(self._job)
        self._job = None  # the job refers to this task by its callbacks
        self._image = None
        for row in self._rows:
            if row.pending.is_pending:
                row.pending.cancel()

    def _on_moved(self) -> None:
        """Keep the wait for other larger images out of the estimates, which decide about all requests."""
        for row in self._rows:
            row.pending.is_typical = False

    def _on_response(self, header: ResponseHeader, body: bytes) -> None:
        """Queue the rows that a decode worker has sent."""
        assert self._job is not None, "after `finish` the job is inactive"
        self._report(header["seconds"])
        self._enqueue(split_buffer(body, self._job.options.resize_specs))

    def _preprocess(self) -> None:
        """Preprocess an image that arrived as pixels; runs in a thread."""
        image, began = self._image, time.monotonic()
        if image is None or isinstance(image, bytes):  # cancelled
            return
        try:
            prepared = resize_all(image, [row.resize_spec for row in self._rows])
        except BaseException as error:  # otherwise the request would wait for ever
            self._fail(error)
        else:
            self._report(time.monotonic() - began)
            self._enqueue(prepared)

    def _report(self, decode_s: float) -> None:
        self.decode_s = decode_s
        self._on_decoded(decode_s)

    def _enqueue(self, prepared: Mapping[ResizeSpec, Pixels]) -> None:
        for row in self._rows:
            row.pending.enqueue(BatchItem(prepared[row.resize_spec], row.consumers))

    def _fail(self, error: BaseException) -> None:
        for row in self._rows:
            row.pending.fail(error)
