"""More requests than can be answered, at a constant rate: how many still are in time, how the others are refused."""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.harness.report import Figure, Measurement, machine, repeat
from benchmarks.harness.server import check, classify, serving
from benchmarks.harness.workload import Workload
from benchmarks.load import open_loop
from benchmarks.load.closed_loop import served
from benchmarks.load.open_loop import Sample, percentile
from models.cpu import available_cores

FACTORS = (2, 4)
GOODPUT, REFUSAL_MS = 0.9, 50.0
_OK, _REFUSED = 200, 503


def measure(work: Workload, connections: int, seconds: float, deadline_ms: int, rounds: int) -> Measurement:
    """The peak of a closed loop, then twice and four times as many requests a second as that, each with a deadline.

    An answer is in time if it came within the deadline from when it was *planned* to be asked for.
    """
    facts = work.facts | machine() | {"deadline": f"{deadline_ms} ms"}
    requests = classify(work.pictures)
    impatient = classify(work.pictures, **{"X-Request-Timeout-Ms": str(deadline_ms)})
    with serving(work) as ours:
        facts["engine"] = ours.engine
        check(ours.url, requests)

        def once() -> dict[str, float]:
            peak = served(ours.url, requests, connections, seconds).rate
            found = {"peak": peak}
            for factor in FACTORS:
                began, cpu = time.perf_counter(), time.process_time()
                samples = open_loop.drive(ours.url, impatient, factor * peak, seconds)
                taken = (time.process_time() - cpu) / (time.perf_counter() - began) / available_cores()
                found[f"{factor}x generator"] = taken
                for name, value in judged(samples, seconds, deadline_ms / 1000).items():
                    found[f"{factor}x {name}"] = value
                found[f"{factor}x goodput"] /= peak
            return found

        found = repeat(rounds, once)
    return Measurement(
        f"Overload: {work.title}",
        [Figure("peak of a closed loop", found["peak"], "images/s")]
        + [figure for factor in FACTORS for figure in _figures(f"{factor}x ", found)],
        facts,
    )


def judged(samples: Sequence[Sample], seconds: float, deadline_s: float) -> dict[str, float]:
    """What became of the requests of one open loop; good answers by second, times in milliseconds."""
    good = [sample for sample in samples if sample.status == _OK and sample.latency_s <= deadline_s]
    refused = [sample for sample in samples if sample.status == _REFUSED]
    accepted = len(samples) - len(refused)
    return {
        "goodput": len(good) / seconds,
        "in time": len(good) / accepted if accepted else 1.0,
        "said when": sum(sample.says_when for sample in refused) / len(refused) if refused else 1.0,
        "refusal": percentile([sample.latency_s for sample in refused], 99) * 1000,
        "lag": percentile([sample.lag_s for sample in samples], 99) * 1000,
    }


def _figures(prefix: str, found: dict[str, list[float]]) -> list[Figure]:
    return [
        Figure(f"{prefix}goodput, share of the peak", found[f"{prefix}goodput"], at_least=GOODPUT),
        Figure(f"{prefix}accepted that were answered in time", found[f"{prefix}in time"], at_least=1.0),
        Figure(f"{prefix}refusals with Retry-After", found[f"{prefix}said when"], at_least=1.0),
        Figure(f"{prefix}p99 of refusals", found[f"{prefix}refusal"], "ms", at_most=REFUSAL_MS),
        Figure(f"{prefix}p99 of how late we sent", found[f"{prefix}lag"], "ms"),
        Figure(f"{prefix}share of all cores that sending took", found[f"{prefix}generator"]),
    ]
