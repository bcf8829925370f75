"""Results of benchmarks: figures by round with their targets, and facts about the machine."""

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

_LIBRARIES = ("numpy", "pillow", "tensorflow", "tensorflow-cpu", "openvino", "xgboost", "xgboost-cpu")


@dataclass(frozen=True)
class Figure:
    """A measured quantity: one value per round, and optional bounds for their median."""

    name: str
    values: list[float]
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.values)

    @property
    def target(self) -> str:
        """The bounds as text; empty if there are none."""
        bounds = {"at least": self.at_least, "at most": self.at_most}
        return ", ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)

    @property
    def is_met(self) -> bool | None:
        """True if the median is within the bounds; None if there are none."""
        if not self.target:
            return None
        return (self.at_least is None or self.median >= self.at_least) and (
            self.at_most is None or self.median <= self.at_most
        )


@dataclass(frozen=True)
class Measurement:
    """The result of a benchmark: figures, and facts about what was measured and on which machine."""

    title: str
    figures: list[Figure]
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """One of two ways to do the same work.

    Attributes:
        name: shown in the report.
        measure_rate: Do the work once and return images per second.
    """

    name: str
    measure_rate: Callable[[], float]


def compare(
    title: str, first: Variant, second: Variant, rounds: int, min_ratio: float, facts: Mapping[str, str]
) -> Measurement:
    """Measure two variants in alternating order, so that other load on the machine affects both alike.

    Args:
        title: of the report.
        first: its rate is the numerator of the ratio.
        second: its rate is the denominator.
        rounds: number of rounds; in each both variants are measured once.
        min_ratio: target for the median of the rounds' ratios.
        facts: to report in addition to those about the machine.
    """
    facts = {**facts, **machine_facts()}
    rates: dict[str, list[float]] = {first.name: [], second.name: []}
    for number in range(rounds):
        for variant in (first, second) if number % 2 == 0 else (second, first):
            rates[variant.name].append(variant.measure_rate())
    ratios = [one / other for one, other in zip(rates[first.name], rates[second.name], strict=True)]
    figures = [Figure(name, values, "images/s") for name, values in rates.items()]
    return Measurement(title, [*figures, Figure("ratio", ratios, at_least=min_ratio)], facts)


def run_rounds(rounds: int, measure_once: Callable[[], Mapping[str, float]]) -> dict[str, list[float]]:
    """Measure the same quantities in every round; return the values of each by round."""
    values: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, value in measure_once().items():
            values.setdefault(name, []).append(value)
    return values


def machine_facts() -> dict[str, str]:
    """Return facts about the machine, the libraries and the load before the benchmark."""
    return {
        "processor": processor_name(),
        "cores": str(available_cores()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {version}" for name in _LIBRARIES if (version := _version(name))),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def print_report(measurement: Measurement, json_file: Path | None) -> None:
    """Print figures and facts; also write them as JSON if a file is given."""
    out = Console()
    table = Table(title=measurement.title, title_justify="left")
    table.add_column("figure")
    for name in ("median", "min", "max"):
        table.add_column(name, justify="right")
    table.add_column("unit")
    table.add_column("target")
    for figure in measurement.figures:
        values = (figure.median, min(figure.values), max(figure.values))
        verdict = {None: "", True: f"{figure.target}: met", False: f"{figure.target}: MISSED"}[figure.is_met]
        table.add_row(figure.name, *map(_format, values), figure.unit, verdict)
    out.print(table)
    for name, fact in measurement.facts.items():
        out.print(f"{name}: {fact}", highlight=False, markup=False, soft_wrap=True)
    if json_file:
        json_file.write_text(json.dumps(_as_json(measurement), indent=2) + "\n", encoding="utf-8")


def processor_name() -> str:
    """Return the name of the processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _as_json(measurement: Measurement) -> dict[str, object]:
    figures = [{**asdict(figure), "median": figure.median, "met": figure.is_met} for figure in measurement.figures]
    return {**asdict(measurement), "figures": figures}


def _format(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""
