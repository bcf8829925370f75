"""The catalog, a batcher for each extractor, and what decodes: bytes -> probabilities."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import structlog

from app.api.cancellation import deadline_scope
from app.batching.batcher import Batcher
from app.batching.request import BatchResult, Reservation
from app.decoding.decoder import ImageDecoder
from app.decoding.worker_process import RequestKey
from app.errors import BatchFailed
from app.inference.admission import AdmissionController
from app.inference.image_task import Batchers, Groups, Image, ImageTask, RowResult
from app.inference.model_loading import LoadedModels, max_batch
from app.settings import Settings
from app.telemetry import logging as logs
from app.telemetry.metrics import Metrics
from models.artifacts import catalog as catalogs
from models.classifier import (
    BatchItem,
    Extractor,
    OutputConsumer,
    classify_each,
    unwrap_output,
)
from models.errors import HeadFailed
from models.heads import Floats

R = TypeVar("R", bound=OutputConsumer)
T = TypeVar("T")

access = structlog.get_logger("access")


@dataclass(frozen=True)
class InferenceResult(Generic[R]):
    """The answer of each reader that was asked, in order, and what they took (seconds)."""

    probabilities: tuple[tuple[R, Floats], ...]
    decode_s: float
    queue_s: float
    inference_s: float
    batch_size: int


def unwrap(outcome: InferenceResult[R] | Exception) -> InferenceResult[R]:
    """The answer, where there is one; otherwise raises what there is."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


class Service:
    """Answers what an image shows. Lives on one event loop."""

    def __init__(
        self, loaded: LoadedModels, settings: Settings, metrics: Metrics, before: Service | None = None
    ) -> None:
        """Start a batcher for each extractor; what `before` has of them, and its decoders, are shared."""
        self.catalog, self.default = loaded.catalog, loaded.default
        self._logs_pictures = settings.log_images
        self._users, self._unused = 0, asyncio.Event()
        self._unused.set()
        self.limits, self._metrics = settings.limits, metrics
        self.decoder: ImageDecoder = before.decoder if before else ImageDecoder(settings.large_image_pixels)
        running: Batchers = before._batchers if before else {}
        self._batchers: Batchers = {
            each: running.get(each) or _start(each, settings, metrics) for each in self.catalog.extractors
        }
        self.admission = AdmissionController(self._batchers, settings.queue_size)
        metrics.model_info.clear()
        metrics.queue_depth.clear()
        for extractor, batcher in self._batchers.items():
            metrics.queue_depth.labels(extractor.manifest.name).set_function(functools.partial(_depth, batcher))
        for model in self.catalog.classifiers:
            extractor = model.extractor
            metrics.add_model(model.name, model.version, extractor.manifest.name, extractor.engine.name)

    @property
    def is_alive(self) -> bool:
        """Whether every network has all the threads that run it, and pictures the processes that decode them."""
        return self.decoder.is_alive and all(batcher.is_alive for batcher in self._batchers.values())

    async def classify(self, data: bytes, readers: Sequence[R], deadline: float | None = None) -> InferenceResult[R]:
        """Decode an image once and ask classifiers what it shows, or for its features.

        Those that share an extractor and a preprocess spec share one row of a batch.

        Args:
            data: the encoded image.
            readers: at least one, of the catalog's extractors.
            deadline: `time.monotonic()` after which nobody wants the answer.

        Raises:
            Overloaded, DeadlineUnmeetable: refused before anything was decoded; Overloaded also where the picture is
                large, and others are before it.
            ImageError: the image cannot be taken.
            DeadlineExceeded, BatchFailed, Closed: no answer came.
        """
        (outcome,) = await self.classify_all([data], readers, deadline)
        return unwrap(outcome)

    async def classify_all(
        self, images: Sequence[Image], readers: Sequence[R], deadline: float | None = None
    ) -> list[InferenceResult[R] | Exception]:
        """The same for several images at once, decoded or not: places are held for all of them first, or for none.

        Returns:
            in the order of the images, what was found, or the error that `classify` would have raised.

        Raises:
            TooManyImages: they would never find room.
            Overloaded, DeadlineUnmeetable, Closed: refused as a whole.
        """
        groups, sender = catalogs.group(readers), RequestKey(len(images))
        with self.admission.admit(groups, len(images), deadline) as places:
            found = await _each([self._classify(image, sender, groups, places, deadline) for image in images])
        return [_ordered(readers, each) for each in found]

    def precheck(self, readers: Sequence[R], deadline: float | None = None) -> None:
        """Refuse an image before its body is read, where it would be refused afterwards; raises as `classify` does."""
        self.admission.precheck(catalogs.group(readers), deadline)

    async def _classify(
        self,
        image: Image,
        sender: RequestKey,
        groups: Groups[R],
        places: Mapping[Extractor, Reservation],
        deadline: float | None,
    ) -> InferenceResult[R]:
        async with deadline_scope(deadline):
            if self._logs_pictures and isinstance(image, bytes):
                access.info("picture", **await asyncio.to_thread(logs.image_fields, image))
            making = ImageTask[R](image, self.limits, self.decoder, self._metrics.decode.observe)
            try:
                making.start(sender, groups, self._batchers, places)
                outcomes = await making.results()
            finally:
                making.cancel()
        return self._measured(making.decode_s, groups, outcomes)

    def _measured(
        self, decode_s: float, groups: Groups[R], outcomes: Sequence[BatchResult[RowResult]]
    ) -> InferenceResult[R]:
        for (extractor, _), outcome in zip(groups, outcomes, strict=True):
            self._metrics.queue.labels(extractor.manifest.name).observe(outcome.queue_s)
        found = {
            reader: _known(answer)
            for readers, outcome in zip(groups.values(), outcomes, strict=True)
            for reader, answer in zip(readers, outcome.result, strict=True)
        }
        return InferenceResult(
            tuple(found.items()),
            decode_s,
            max(outcome.prepare_s + outcome.queue_s for outcome in outcomes) - decode_s,
            max(outcome.run_s for outcome in outcomes),
            max(outcome.batch_size for outcome in outcomes),
        )

    @contextmanager
    def lease(self) -> Iterator[Service]:
        """Keep it open while a request needs it, even if another one has taken its place."""
        self._users += 1
        self._unused.clear()
        try:
            yield self
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def wait_idle(self) -> None:
        """Wait until no request needs it."""
        await self._unused.wait()

    def close(self, timeout_s: float, successor: Service | None = None) -> None:
        """Stop every thread that is not the successor's too; a batch that takes longer is left to itself. Blocks."""
        shared = set(successor._batchers.values()) if successor else set()
        for batcher in set(self._batchers.values()) - shared:
            batcher.close(timeout_s)


def _start(extractor: Extractor, settings: Settings, metrics: Metrics) -> Batcher[BatchItem, RowResult]:
    name, engine = extractor.manifest.name, extractor.engine
    most = max_batch(settings, engine)
    batcher: Batcher[BatchItem, RowResult] = Batcher(
        *[functools.partial(classify_each, engine)] * engine.max_concurrent_runs,
        concurrent=functools.partial(classify_each, engine.concurrent),
        name=f"engine-{name}",
        max_batch=most,
        capacity=settings.queue_size,
        max_run_s=settings.max_batch_latency_ms / 1000 if engine.shares_cores else math.inf,
        max_delay_s=settings.max_delay_ms / 1000,
        shares_cores=engine.shares_cores,
        sizes=engine.preferred_batch_sizes(most),
        on_batch=metrics.batch_observer(name),
    )
    return batcher


def _depth(batcher: Batcher[BatchItem, RowResult]) -> int:
    return batcher.depth


async def _each(work: Sequence[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
    """What each gives or raises; a single one needs no task of its own."""
    if len(work) != 1:
        return await asyncio.gather(*work, return_exceptions=True)
    try:
        return [await work[0]]
    except Exception as error:
        return [error]


def _ordered(readers: Sequence[R], outcome: InferenceResult[R] | BaseException) -> InferenceResult[R] | Exception:
    """Answers in the order in which the readers were named, not in that of their groups."""
    if isinstance(outcome, InferenceResult):
        found = dict(outcome.probabilities)
        return replace(outcome, probabilities=tuple((reader, found[reader]) for reader in readers))
    if isinstance(outcome, Exception):
        return outcome
    raise outcome


def _known(answer: Floats | HeadFailed) -> Floats:
    try:
        return unwrap_output(answer)
    except HeadFailed as error:
        raise BatchFailed("A head failed.") from error
