"""Measurements of a single contender; its responses must agree with our server's before it is timed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.harness.server import serve
from benchmarks.harness.workload import Workload
from benchmarks.load import closed_loop, open_loop
from benchmarks.load.open_loop import percentile
from benchmarks.load.request import send_all
from benchmarks.options import ImageSize
from benchmarks.peers.contenders import Contender, Prediction
from benchmarks.peers.results_log import Result

ImagesBySize = Mapping[ImageSize, Sequence[bytes]]

# Minimum share of labels that agree with our server's: with small differences between int8 and float32 features, some
# decisions of trees differ.
_MIN_AGREEMENT = 0.75
_WARM_UP_S = 5.0
_OK = 200


class WrongPredictions(Exception):
    """A contender's responses disagree with those of our server."""


def measure_reference(our_server: Contender, workload: Workload, images: ImagesBySize) -> Result:
    """Return the engine of our server and its labels for the images."""
    with serve(workload) as server:
        labels = {
            size: [prediction.label for prediction in _predict(our_server, server.url, sized_images)]
            for size, sized_images in images.items()
        }
        return {"engine": server.engine, "labels": labels}


def measure_peak(
    contender: Contender,
    workload: Workload,
    images: ImagesBySize,
    reference: Result,
    connections: int,
    seconds: float,
) -> Result:
    """Measure the throughput of a closed loop for each size of images.

    Raises:
        WrongPredictions: the contender does not agree with the reference.
    """
    result: Result = {}
    with contender.start(workload) as url:
        for size, sized_images in images.items():
            agreement = _check_agreement(contender, _predict(contender, url, sized_images), reference, size)
            requests = [contender.request(data) for data in sized_images]
            closed_loop.run(url, requests, connections, _WARM_UP_S, allow_rejections=True)
            load = closed_loop.run(url, requests, connections, seconds, allow_rejections=True)
            result[size] = {
                "rate": load.rate,
                "p50": load.p50_s,
                "p99": load.p99_s,
                "refused": load.rejected,
                "agreement": agreement,
            }
    return result


def measure_tail(contender: Contender, workload: Workload, rate: float, seconds: float) -> Result:
    """Measure the 99th percentile of the latency in an open loop at a rate of requests per second."""
    requests = [contender.request(data) for data in workload.images]
    with contender.start(workload) as url:
        open_loop.run(url, requests, rate, _WARM_UP_S)
        samples = open_loop.run(url, requests, rate, seconds)
    return {
        "rate": rate,
        "p99": percentile([sample.latency_s for sample in samples], 99),
        "lag": percentile([sample.lag_s for sample in samples], 99),
        "failed": sum(sample.status != _OK for sample in samples),
    }


def _predict(contender: Contender, url: str, images: Sequence[bytes]) -> list[Prediction]:
    _, bodies = send_all(url, [contender.request(data) for data in images], in_flight=4)
    return [contender.read(body) for body in bodies]


def _check_agreement(
    contender: Contender, predictions: Sequence[Prediction], reference: Result, size: ImageSize
) -> float:
    """Return the share of labels that agree with the reference."""
    our_engine = reference["engine"]
    if contender.shares_engine and any(prediction.engine != our_engine for prediction in predictions):
        raise WrongPredictions(
            f"{contender.name} runs {predictions[0].engine}, our server {our_engine}. "
            "The lock files may have different versions: run make lock."
        )
    labels = reference["labels"][size]
    agreement = statistics.fmean(
        prediction.label == label for prediction, label in zip(predictions, labels, strict=True)
    )
    if agreement < _MIN_AGREEMENT:
        raise WrongPredictions(f"{contender.name} agrees on {agreement:.0%} of the images: {predictions}, not {labels}")
    return agreement
