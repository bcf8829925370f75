"""Our server compared with its peers: every contender is measured once per round, in changing order.

The peak of each contender is measured in a closed loop. Then the tail latency of our server and of the best peer of
each setup is measured in an open loop, at 70 % of that peer's peak.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.harness.report import Figure, Measurement, machine_facts
from benchmarks.harness.workload import Workload, generate_images
from benchmarks.options import ImageSize
from benchmarks.peers.contenders import Contender, Peer, our_server, peer_contender
from benchmarks.peers.measure import ImagesBySize, measure_peak, measure_reference, measure_tail
from benchmarks.peers.model import Setup
from benchmarks.peers.results_log import Result, ResultsLog

MIN_SPEEDUP = {Setup.DOCUMENTED: 3.0, Setup.OUR_ENGINE: 1.2}
MAX_TAIL_RATIO, LOAD = 0.8, 0.7

Peaks = dict[Contender, list[Result]]
"""Results of `measure_peak` by round."""


@dataclass(frozen=True)
class PeerBenchmark:
    """Parameters of the comparison, and the log of its results."""

    workload: Workload
    connections: int
    seconds: float
    rounds: int
    log: ResultsLog
    print_line: Callable[[str], None]


def measure(benchmark: PeerBenchmark, peers: Sequence[Peer], cache: Path) -> Measurement:
    """Measure what is not in the log yet, and compare all results.

    Args:
        benchmark: parameters and log.
        peers: to measure, in both setups.
        cache: folder of their environments.

    Raises:
        WrongPredictions: a contender's responses disagree with those of our server.
        RuntimeError: a contender does not start or does not respond.
    """
    workload, server = benchmark.workload, our_server()
    by_setup = {setup: [peer_contender(peer, setup, cache) for peer in peers] for setup in Setup}
    images = {size: generate_images(size) for size in ImageSize}
    reference = benchmark.log.get_or_measure(
        "what our server answers", partial(measure_reference, server, workload, images)
    )
    contenders = [server, *(contender for contenders in by_setup.values() for contender in contenders)]
    peaks = _measure_peaks(benchmark, contenders, images, reference)
    figures = [
        Figure(f"{contender.name}, {size}", _rates(results, size), "images/s")
        for size in ImageSize
        for contender, results in peaks.items()
    ]
    for setup, setup_contenders in by_setup.items():
        figures += [_speedup(setup, server, _fastest(peaks, setup_contenders, size), peaks, size) for size in ImageSize]
        best_peer = _fastest(peaks, setup_contenders, workload.image_size)
        rate = LOAD * statistics.median(_rates(peaks[best_peer], workload.image_size))
        figures += _compare_tails(benchmark, setup, server, best_peer, rate)
    facts = workload.facts | machine_facts() | {"engine": reference["engine"]} | _rejection_facts(peaks)
    return Measurement(f"Peers at {benchmark.connections} connections: {workload.model}", figures, facts)


def _measure_peaks(
    benchmark: PeerBenchmark, contenders: Sequence[Contender], images: ImagesBySize, reference: Result
) -> Peaks:
    connections, seconds = benchmark.connections, benchmark.seconds
    peaks: Peaks = {contender: [] for contender in contenders}
    for number in range(benchmark.rounds):
        first = number % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            result = benchmark.log.get_or_measure(
                f"round {number + 1}, peak of {contender.name}",
                partial(measure_peak, contender, benchmark.workload, images, reference, connections, seconds),
            )
            rates = ", ".join(f"{result[size]['rate']:.1f}/s of {size}" for size in ImageSize)
            benchmark.print_line(f"round {number + 1}, {contender.name}: {rates}")
            peaks[contender].append(result)
    return peaks


def _compare_tails(
    benchmark: PeerBenchmark, setup: Setup, server: Contender, best_peer: Contender, rate: float
) -> list[Figure]:
    """Compare the p99 of our server and of the best peer at the same rate of requests per second."""
    p99_ms: dict[str, list[float]] = {server.name: [], best_peer.name: []}
    for number in range(benchmark.rounds):
        for contender in (server, best_peer) if number % 2 == 0 else (best_peer, server):
            key = f"round {number + 1}, tail of {contender.name} beside {best_peer.name} at {rate:.2f}/s"
            measure_contender = partial(measure_tail, contender, benchmark.workload, rate, benchmark.seconds)
            result = benchmark.log.get_or_measure(key, measure_contender)
            benchmark.print_line(f"{key}: p99 {result['p99'] * 1000:.0f} ms, {result['failed']} failed")
            p99_ms[contender.name].append(result["p99"] * 1000)
    ratios = [our_p99 / peer_p99 for our_p99, peer_p99 in zip(p99_ms[server.name], p99_ms[best_peer.name], strict=True)]
    title = f"p99 at {LOAD:.0%} of the peak of {best_peer.name}"
    figures = [Figure(f"{title}: {name}", values, "ms") for name, values in p99_ms.items()]
    return [*figures, Figure(f"p99, ours / best peer in setup {setup}", ratios, at_most=MAX_TAIL_RATIO)]


def _speedup(setup: Setup, server: Contender, best_peer: Contender, peaks: Peaks, size: ImageSize) -> Figure:
    """Compare the throughput of our server with the best peer's; only images of web size have a target."""
    pairs = zip(_rates(peaks[server], size), _rates(peaks[best_peer], size), strict=True)
    minimum = MIN_SPEEDUP[setup] if size is ImageSize.WEB else None
    name = f"ours / best peer in setup {setup} ({best_peer.name}), {size}"
    return Figure(name, [our_rate / peer_rate for our_rate, peer_rate in pairs], at_least=minimum)


def _fastest(peaks: Peaks, contenders: Sequence[Contender], size: ImageSize) -> Contender:
    return max(contenders, key=lambda contender: statistics.median(_rates(peaks[contender], size)))


def _rates(results: Sequence[Result], size: ImageSize) -> list[float]:
    return [result[size]["rate"] for result in results]


def _rejection_facts(peaks: Peaks) -> dict[str, str]:
    """Return the number of rejected requests of each contender that had any."""
    counts = {
        contender.name: sum(result[size]["refused"] for result in results for size in ImageSize)
        for contender, results in peaks.items()
    }
    return {f"rejected by {name}": f"{count:,}, not counted as responses" for name, count in counts.items() if count}
