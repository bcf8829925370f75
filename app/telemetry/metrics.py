"""Prometheus metrics of one app, in a registry of its own; durations are histograms in seconds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from app.batching.status import BatchingStatus
from models.classifier import Classifier

_NAMESPACE = "classifier"
_DURATION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_MODEL_LABELS = ("model", "version", "extractor", "engine")
_BATCH_SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)

BatchingStatusFunction = Callable[[], BatchingStatus]


class Metrics:
    """All metrics of one app."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        def counter(name: str, description: str, *labels: str) -> Counter:
            return Counter(name, description, labels, namespace=_NAMESPACE, registry=registry)

        def gauge(name: str, description: str, *labels: str) -> Gauge:
            return Gauge(name, description, labels, namespace=_NAMESPACE, registry=registry)

        def histogram(name: str, description: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return Histogram(name, description, labels, namespace=_NAMESPACE, registry=registry, buckets=buckets)

        self.requests = counter("requests_total", "Requests that received a response.", "method", "route", "status")
        self.request_duration = histogram(
            "request_duration_seconds",
            "Time from the first byte of a request to its response.",
            _DURATION_BUCKETS_S,
            "method",
            "route",
        )
        self.decode_duration = histogram(
            "decode_duration_seconds", "Decoding and resizing time per image.", _DURATION_BUCKETS_S
        )
        self.queue_duration = histogram(
            "queue_duration_seconds", "Queueing time per image.", _DURATION_BUCKETS_S, "extractor"
        )
        self.inference_duration = histogram(
            "inference_duration_seconds", "Run time of network and heads per batch.", _DURATION_BUCKETS_S, "extractor"
        )
        self.batch_size = histogram("batch_size", "Images per batch.", _BATCH_SIZE_BUCKETS, "extractor")
        self.queue_depth = gauge("queue_depth", "Images waiting for inference.", "extractor")
        self.batch_target_size = gauge("batch_target_size", "Images of a full batch.", "extractor")
        self.batch_pace = gauge("batch_pace", "Duration of recent batches as a multiple of the usual one.", "extractor")
        self.requests_in_flight = gauge("requests_in_flight", "Requests in progress.")
        self.rejected = counter("requests_rejected_total", "Requests rejected or timed out, by reason.", "reason")
        self.cancelled = counter("requests_cancelled_total", "Requests whose client disconnected before the response.")
        self.model_info = gauge("model_info", "Models being served.", *_MODEL_LABELS)
        self._cached_request_metrics = functools.cache(self._request_metrics)  # looking labels up is slow

    def set_models(self, classifiers: Iterable[Classifier], batching: Mapping[str, BatchingStatusFunction]) -> None:
        """Replace the served models, and the functions that return the state of each extractor's batcher."""
        self.model_info.clear()
        for model in classifiers:
            extractor = model.extractor
            self.model_info.labels(model.name, model.version, extractor.manifest.name, extractor.engine.name).set(1)
        for gauge, field in (
            (self.queue_depth, "waiting"),
            (self.batch_target_size, "target_size"),
            (self.batch_pace, "pace"),
        ):
            gauge.clear()
            for name, status in batching.items():
                gauge.labels(name).set_function(functools.partial(_read, status, field))

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request and observe its duration in seconds."""
        requests, durations = self._cached_request_metrics(method, route, status)
        requests.inc()
        durations.observe(seconds)

    def _request_metrics(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        return self.requests.labels(method, route, status), self.request_duration.labels(method, route)

    def batch_observer(self, extractor: str) -> Callable[[int, float], None]:
        """Return the callback of a batcher, which takes the size and the duration in seconds of each batch."""
        sizes, durations = self.batch_size.labels(extractor), self.inference_duration.labels(extractor)

        def observe(size: int, duration: float) -> None:
            sizes.observe(size)
            durations.observe(duration)

        return observe


def _read(status: BatchingStatusFunction, field: str) -> float:
    return float(getattr(status(), field))
