"""What was measured, round after round, and on what machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

from models.cpu import available_cores

Rate = Callable[[], float]
"""Does the work once; images a second."""

_LIBRARIES = ("numpy", "pillow", "tensorflow", "tensorflow-cpu", "openvino", "xgboost", "xgboost-cpu")


@dataclass(frozen=True)
class Figure:
    """One thing that was measured, by round, and what its median must reach if it is claimed."""

    name: str
    values: list[float]
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.values)

    @property
    def target(self) -> str:
        """What is claimed, as it is printed."""
        bounds = {"at least": self.at_least, "at most": self.at_most}
        return ", ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)

    @property
    def met(self) -> bool | None:
        """Whether the median is what is claimed; None where nothing is."""
        if not self.target:
            return None
        return (self.at_least is None or self.median >= self.at_least) and (
            self.at_most is None or self.median <= self.at_most
        )


@dataclass(frozen=True)
class Measurement:
    """Figures that were measured together; and what was measured where."""

    title: str
    figures: list[Figure]
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Way:
    """One way to do it."""

    name: str
    rate: Rate


def compare(title: str, first: Way, second: Way, rounds: int, target: float, facts: Mapping[str, str]) -> Measurement:
    """Two ways to do the same work, so that what else the machine does meets both; each is as often first."""
    facts = {**facts, **machine()}
    rates: dict[str, list[float]] = {first.name: [], second.name: []}
    for number in range(rounds):
        for way in (first, second) if number % 2 == 0 else (second, first):
            rates[way.name].append(way.rate())
    ratios = [ours / theirs for ours, theirs in zip(rates[first.name], rates[second.name], strict=True)]
    figures = [Figure(name, values, "images/s") for name, values in rates.items()]
    return Measurement(title, [*figures, Figure("ratio", ratios, at_least=target)], facts)


def repeat(rounds: int, once: Callable[[], Mapping[str, float]]) -> dict[str, list[float]]:
    """Measure the same things in every round; name -> what was found, by round."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, value in once().items():
            found.setdefault(name, []).append(value)
    return found


def machine() -> dict[str, str]:
    """What this is measured on, and how busy it was before."""
    return {
        "processor": processor(),
        "cores": str(available_cores()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {version}" for name in _LIBRARIES if (version := _version(name))),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def report(measurement: Measurement, json_file: Path | None) -> None:
    """Print a table and what it was measured on; the same as JSON where a file is named."""
    out = Console()
    table = Table(title=measurement.title, title_justify="left")
    table.add_column("median of the rounds")
    for name in ("median", "least", "most"):
        table.add_column(name, justify="right")
    table.add_column("unit")
    table.add_column("target")
    for figure in measurement.figures:
        values = (figure.median, min(figure.values), max(figure.values))
        verdict = {None: "", True: f"{figure.target}: met", False: f"{figure.target}: MISSED"}[figure.met]
        table.add_row(figure.name, *map(_shown, values), figure.unit, verdict)
    out.print(table)
    for name, value in measurement.facts.items():
        out.print(f"{name}: {value}", highlight=False, markup=False, soft_wrap=True)
    if json_file:
        json_file.write_text(json.dumps(_record(measurement), indent=2) + "\n", encoding="utf-8")


def _record(measurement: Measurement) -> dict[str, object]:
    figures = [{**asdict(figure), "median": figure.median, "met": figure.met} for figure in measurement.figures]
    return {**asdict(measurement), "figures": figures}


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def processor() -> str:
    """What its maker calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""
