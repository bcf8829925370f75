"""Our server beside its peers in one run: every contender once in each round, in changing order.

First the peak of each in a closed loop. Then the tail: ours and the best peer of each form at 70 % of that peer's peak,
in an open loop.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.harness.report import Figure, Measurement, machine
from benchmarks.harness.workload import Picture, Workload, draw
from benchmarks.peers import measure as asking
from benchmarks.peers.contenders import Contender, Peer, contender, ours
from benchmarks.peers.measure import Found, Pictures
from benchmarks.peers.model import Form
from benchmarks.peers.results_log import Records

FASTER = {Form.DOCUMENTED: 3.0, Form.OURS: 1.2}
TAIL, LOAD = 0.8, 0.7

Peaks = dict[Contender, list[Found]]


@dataclass(frozen=True)
class Run:
    """How contenders are loaded, and where the figures are kept."""

    work: Workload
    connections: int
    seconds: float
    rounds: int
    records: Records
    say: Callable[[str], None]


def measure(run: Run, peers: Sequence[Peer], cache: Path) -> Measurement:
    """Measure what is not in the records yet; what follows from all of it.

    Args:
        run: the load.
        peers: that take part, in both forms.
        cache: where their environments are kept.

    Raises:
        WrongAnswers: a contender answers something else than our server.
        RuntimeError: one does not start, or does not answer.
    """
    us, forms = ours(), {form: [contender(peer, form, cache) for peer in peers] for form in Form}
    pictures = {picture: draw(picture) for picture in Picture}
    expected = run.records.get("what our server answers", lambda: asking.reference(us, run.work, pictures))
    peaks = _peaks(run, [us, *(each for some in forms.values() for each in some)], pictures, expected)
    figures = [
        Figure(f"{each.name}, {picture}", _rates(found, picture), "images/s")
        for picture in Picture
        for each, found in peaks.items()
    ]
    for form, some in forms.items():
        figures += [_lead(form, us, _best(peaks, some, picture), peaks, picture) for picture in Picture]
        best = _best(peaks, some, run.work.picture)
        rate = LOAD * statistics.median(_rates(peaks[best], run.work.picture))
        figures += _tails(run, form, us, best, rate)
    facts = run.work.facts | machine() | {"engine": expected["engine"]}
    for each, found in peaks.items():
        if refused := sum(by_picture[picture]["refused"] for by_picture in found for picture in Picture):
            facts[f"refused by {each.name}"] = f"{refused:,}, not counted as answers"
    return Measurement(f"Beside peers, {run.connections} connections: {run.work.model}", figures, facts)


def _peaks(run: Run, everyone: Sequence[Contender], pictures: Pictures, expected: Found) -> Peaks:
    peaks: Peaks = {each: [] for each in everyone}
    for number in range(run.rounds):
        turn = number % len(everyone)
        for each in (*everyone[turn:], *everyone[:turn]):
            load = partial(asking.peak, each, run.work, pictures, expected, run.connections, run.seconds)
            found = run.records.get(f"round {number + 1}, peak of {each.name}", load)
            shown = ", ".join(f"{found[picture]['rate']:.1f}/s of {picture}" for picture in Picture)
            run.say(f"round {number + 1}, {each.name}: {shown}")
            peaks[each].append(found)
    return peaks


def _tails(run: Run, form: Form, us: Contender, best: Contender, rate: float) -> list[Figure]:
    """p99 of ours and the best peer's at the same rate."""
    by_name: dict[str, list[float]] = {us.name: [], best.name: []}
    for number in range(run.rounds):
        for each in (us, best) if number % 2 == 0 else (best, us):
            key = f"round {number + 1}, tail of {each.name} beside {best.name} at {rate:.2f}/s"
            found = run.records.get(key, partial(asking.tail, each, run.work, rate, run.seconds))
            run.say(f"{key}: p99 {found['p99'] * 1000:.0f} ms, {found['failed']} failed")
            by_name[each.name].append(found["p99"] * 1000)
    ratios = [mine / theirs for mine, theirs in zip(by_name[us.name], by_name[best.name], strict=True)]
    title = f"p99 at {LOAD:.0%} of {best.name}'s peak"
    figures = [Figure(f"{title}: {name}", values, "ms") for name, values in by_name.items()]
    return [*figures, Figure(f"p99, ours over the best in form {form}", ratios, at_most=TAIL)]


def _lead(form: Form, us: Contender, best: Contender, peaks: Peaks, picture: Picture) -> Figure:
    """How many times as fast ours is as a peer, by round."""
    pairs = zip(_rates(peaks[us], picture), _rates(peaks[best], picture), strict=True)
    claimed = FASTER[form] if picture is Picture.WEB else None
    name = f"ours over the best in form {form} ({best.name}), {picture}"
    return Figure(name, [mine / theirs for mine, theirs in pairs], at_least=claimed)


def _best(peaks: Peaks, some: Sequence[Contender], picture: Picture) -> Contender:
    return max(some, key=lambda each: statistics.median(_rates(peaks[each], picture)))


def _rates(found: Sequence[Found], picture: Picture) -> list[float]:
    return [by_picture[picture]["rate"] for by_picture in found]
