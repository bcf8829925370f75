"""Two ways to do the same work, round after round beside each other, so that what else the machine does meets both."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

from models.cores import available_cores

Rate = Callable[[], float]
"""Does the work once; images a second."""

_LIBRARIES = ("numpy", "pillow", "tensorflow", "tensorflow-cpu", "xgboost", "xgboost-cpu")


@dataclass(frozen=True)
class Way:
    """One way to do it."""

    name: str
    rate: Rate


@dataclass(frozen=True)
class Comparison:
    """How fast both ways were: way -> images a second, by round; and what was measured where."""

    title: str
    target: float
    rates: dict[str, list[float]]
    facts: dict[str, str]

    @property
    def ratios(self) -> list[float]:
        """The first way's speed as a part of the second's, by round."""
        first, second = self.rates.values()
        return [ours / theirs for ours, theirs in zip(first, second, strict=True)]

    @property
    def ratio(self) -> float:
        """Their median."""
        return statistics.median(self.ratios)


def compare(title: str, first: Way, second: Way, rounds: int, target: float, facts: Mapping[str, str]) -> Comparison:
    """Run both ways in every round, each as often first as the other."""
    facts = {**facts, **machine()}
    rates: dict[str, list[float]] = {first.name: [], second.name: []}
    for number in range(rounds):
        for way in (first, second) if number % 2 == 0 else (second, first):
            rates[way.name].append(way.rate())
    return Comparison(title, target, rates, facts)


def machine() -> dict[str, str]:
    """What this is measured on, and how busy it was before."""
    return {
        "processor": _processor(),
        "cores": str(available_cores()),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {version}" for name in _LIBRARIES if (version := _version(name))),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def report(comparison: Comparison, json_file: Path | None) -> None:
    """Print a table and what it was measured on; the same as JSON where a file is named."""
    out = Console()
    table = Table("images a second", "median", "least", "most", title=comparison.title, title_justify="left")
    for name, rates in comparison.rates.items():
        table.add_row(name, *(f"{value:.1f}" for value in (statistics.median(rates), min(rates), max(rates))))
    out.print(table)
    for name, value in comparison.facts.items():
        out.print(f"{name}: {value}", highlight=False, markup=False)
    spread = f"{min(comparison.ratios):.3f} to {max(comparison.ratios):.3f} in {len(comparison.ratios)} rounds"
    out.print(f"ratio: {comparison.ratio:.3f} ({spread}); target: {comparison.target}", highlight=False)
    if json_file:
        found = {**asdict(comparison), "ratios": comparison.ratios, "ratio": comparison.ratio}
        json_file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _processor() -> str:
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
