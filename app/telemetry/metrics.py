"""What is counted and timed, in seconds and true histograms; a registry for each app."""

from __future__ import annotations

import functools
from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

_NAMESPACE = "classifier"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_MODEL_LABELS = ("model", "version", "extractor", "engine")
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Every metric of one app."""

    def __init__(self) -> None:
        """Register them all; nothing is global."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        def seconds(name: str, what: str, *labels: str) -> Histogram:
            return Histogram(f"{name}_seconds", what, labels, namespace=_NAMESPACE, registry=registry, buckets=_SECONDS)

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(name, what, labels, namespace=_NAMESPACE, registry=registry)

        self.requests = counter("requests_total", "Requests answered.", "method", "route", "status")
        self.request = seconds("request_duration", "From first byte to answer.", "method", "route")
        self.decode = seconds("decode_duration", "Decoding and resizing one picture.")
        self.queue = seconds("queue_duration", "One picture's wait for the network.", "extractor")
        self.inference = seconds("inference_duration", "Network and heads, for each batch.", "extractor")
        self.batch_size = Histogram(
            "batch_size", "Pictures in a batch.", ["extractor"], _NAMESPACE, registry=registry, buckets=_SIZES
        )
        self.queue_depth = Gauge(
            "queue_depth", "Pictures that wait for the network.", ["extractor"], _NAMESPACE, registry=registry
        )
        self.in_flight = Gauge(
            "requests_in_flight", "Requests being answered.", namespace=_NAMESPACE, registry=registry
        )
        self.rejected = counter("requests_rejected_total", "Requests refused or given up, by reason.", "reason")
        self.cancelled = counter("requests_cancelled_total", "Requests whose client went away before the answer.")
        self.model_info = Gauge(
            "model_info", "Models that are served.", _MODEL_LABELS, namespace=_NAMESPACE, registry=registry
        )
        self._of = functools.cache(self._labelled)  # to look them up takes longer than to count

    def add_model(self, model: str, version: int, extractor: str, engine: str) -> None:
        """Say that a model is served, and on what."""
        self.model_info.labels(model, version, extractor, engine).set(1)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request, and how long it took."""
        requests, durations = self._of(method, route, status)
        requests.inc()
        durations.observe(seconds)

    def _labelled(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        return self.requests.labels(method, route, status), self.request.labels(method, route)

    def batch_observer(self, extractor: str) -> Callable[[int, float], None]:
        """What a batcher calls after each batch: size, seconds."""
        sizes, durations = self.batch_size.labels(extractor), self.inference.labels(extractor)

        def observe(size: int, duration: float) -> None:
            sizes.observe(size)
            durations.observe(duration)

        return observe
