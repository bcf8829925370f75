"""Classify images: one batcher for each extractor, and the decoder that feeds them."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from app.batching.batcher import Batcher
from app.batching.request import BatchResult
from app.batching.status import BatchingStatus
from app.decoding.decoder import ImageDecoder
from app.decoding.job import RequestKey
from app.errors import BatchFailed
from app.inference.admission import AdmissionController
from app.inference.deadline import deadline_scope
from app.inference.image_task import Batchers, Groups, Image, PendingRow, RowResult, classify_image
from app.inference.model_loading import LoadedModels, max_batch
from app.inference.result import InferenceResult
from app.settings import Settings
from app.telemetry.logging import image_fields
from app.telemetry.metrics import Metrics
from app.threads import run_in_request_thread
from models.arrays import Floats
from models.artifacts.catalog import group_consumers
from models.classifier import BatchItem, Extractor, OutputConsumer, try_classify, unwrap_output
from models.errors import HeadFailed

R = TypeVar("R", bound=OutputConsumer)
T = TypeVar("T")

access_log = structlog.get_logger("access")


class Service:
    """Serves one set of loaded models. Lives on one event loop."""

    def __init__(
        self, models: LoadedModels, settings: Settings, metrics: Metrics, previous: Service | None = None
    ) -> None:
        """Start a batcher for each extractor, sharing with `previous` the decoder and the batchers that both need."""
        self.models = models
        self.image_limits, self._logs_images, self._metrics = settings.image_limits, settings.log_images, metrics
        self.decoder: ImageDecoder = previous.decoder if previous else ImageDecoder(settings.large_image_pixels)
        running: Batchers = previous._batchers if previous else {}
        self._batchers: Batchers = {
            extractor: running.get(extractor) or _start_batcher(extractor, settings, metrics)
            for extractor in models.catalog.extractors
        }
        self._admission = AdmissionController(self._batchers, settings.queue_size)
        metrics.set_models(
            models.catalog.classifiers,
            {extractor.manifest.name: batcher.status for extractor, batcher in self._batchers.items()},
        )

    @property
    def is_alive(self) -> bool:
        """Return True while every batch worker runs and decode workers can be started."""
        return self.decoder.is_alive and all(batcher.is_alive for batcher in self._batchers.values())

    def batching_status(self) -> list[tuple[Extractor, BatchingStatus]]:
        """Return each extractor with the state of its batcher."""
        return [(extractor, batcher.status()) for extractor, batcher in self._batchers.items()]

    def precheck(self, consumers: Sequence[R], deadline: float | None = None) -> None:
        """Reject a request before its body is read if one image would be rejected now; raises as `classify` does."""
        self._admission.precheck(group_consumers(consumers), deadline)

    def shed_load(self, deadline: float | None) -> None:
        """While requests are being rejected, reject one of any models that no queue has room for.

        Raises:
            Overloaded, DeadlineUnmeetable: of the queue that has room first.
        """
        if self._admission.is_shedding:
            self._admission.shed(deadline)

    async def classify(
        self, images: Sequence[Image], consumers: Sequence[R], deadline: float | None = None
    ) -> list[InferenceResult[R] | Exception]:
        """Decode each image once and compute the outputs of all consumers.

        Consumers that share an extractor and a preprocess spec share one row of a batch. Capacity is reserved for all
        images or for none.

        Args:
            images: encoded images, or RGB pixels uint8 [height, width, 3].
            consumers: classifiers or embeddings, at least one, of this service's extractors.
            deadline: absolute monotonic time after which the results are useless.

        Returns:
            For each image its result, or its error: ImageError (the image is invalid), Overloaded (too many
            large images wait for decoding), DeadlineExceeded, BatchFailed or BatcherClosed.

        Raises:
            TooManyImages: the request exceeds the capacity of the queue.
            Overloaded, DeadlineUnmeetable, BatcherClosed: rejected as a whole, before anything was decoded.
        """
        groups, key = group_consumers(consumers), RequestKey(len(images))
        with self._admission.admit(groups, len(images), deadline) as pending:
            work = [
                self._classify(image, key, groups, rows, deadline) for image, rows in zip(images, pending, strict=True)
            ]
            results = await _gather(work)
        return [_in_order(consumers, result) for result in results]

    async def _classify(
        self,
        image: Image,
        key: RequestKey,
        groups: Groups[R],
        pending: Sequence[PendingRow],
        deadline: float | None,
    ) -> InferenceResult[R]:
        async with deadline_scope(deadline):
            if self._logs_images and isinstance(image, bytes):
                access_log.info("image", **await run_in_request_thread(image_fields, image))
            decode_s, rows = await classify_image(
                image,
                groups,
                pending,
                key,
                limits=self.image_limits,
                decoder=self.decoder,
                on_decoded=self._metrics.decode_duration.observe,
            )
        return self._combine(decode_s, groups, rows)

    def _combine(
        self, decode_s: float, groups: Groups[R], rows: Sequence[BatchResult[RowResult]]
    ) -> InferenceResult[R]:
        """Merge the rows of one image; the times are those of the slowest row."""
        for (extractor, _), row in zip(groups, rows, strict=True):
            self._metrics.queue_duration.labels(extractor.manifest.name).observe(row.queue_s)
        outputs = tuple(
            (consumer, _unwrap_head(output))
            for consumers, row in zip(groups.values(), rows, strict=True)
            for consumer, output in zip(consumers, row.result, strict=True)
        )
        return InferenceResult(
            outputs,
            decode_s,
            max(row.prepare_s + row.queue_s for row in rows) - decode_s,
            max(row.run_s for row in rows),
            max(row.batch_size for row in rows),
        )

    def close(self, timeout_s: float, successor: Service | None = None) -> None:
        """Close the batchers that the next service does not use.

        Blocks until their batches end or the timeout passes.
        """
        shared = set(successor._batchers.values()) if successor else set()
        for batcher in set(self._batchers.values()) - shared:
            batcher.close(timeout_s)


def _start_batcher(extractor: Extractor, settings: Settings, metrics: Metrics) -> Batcher[BatchItem, RowResult]:
    name, engine = extractor.manifest.name, extractor.engine
    largest = max_batch(settings, extractor)
    return Batcher(
        *[functools.partial(try_classify, engine)] * engine.max_concurrent_runs,
        concurrent=functools.partial(try_classify, engine.concurrent),
        name=f"engine-{name}",
        max_batch=largest,
        capacity=settings.queue_size,
        max_run_s=settings.max_batch_latency_ms / 1000 if engine.shares_cores else math.inf,
        max_delay_s=settings.max_delay_ms / 1000,
        shares_cores=engine.shares_cores,
        preferred_batch_sizes=engine.preferred_batch_sizes(largest),
        on_batch=metrics.batch_observer(name),
    )


async def _gather(work: Sequence[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
    """Await all coroutines and return their results or errors; a single coroutine runs without a task of its own."""
    if len(work) != 1:
        return await asyncio.gather(*work, return_exceptions=True)
    try:
        return [await work[0]]
    except Exception as error:
        return [error]


def _in_order(consumers: Sequence[R], result: InferenceResult[R] | BaseException) -> InferenceResult[R] | Exception:
    """Sort the outputs as the request named the consumers, instead of by their groups."""
    if isinstance(result, InferenceResult):
        outputs = dict(result.outputs)
        return replace(result, outputs=tuple((consumer, outputs[consumer]) for consumer in consumers))
    if isinstance(result, Exception):
        return result
    raise result


def _unwrap_head(output: Floats | HeadFailed) -> Floats:
    try:
        return unwrap_output(output)
    except HeadFailed as error:
        raise BatchFailed("A head failed.") from error
