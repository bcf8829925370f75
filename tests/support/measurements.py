"""Checks of benchmark results."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

import pytest

from benchmarks.harness.report import Figure, Measurement

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (apt-get install wrk)")


def medians(figures: Iterable[Figure]) -> dict[str, float]:
    """Return the median of each figure by name."""
    return {figure.name: figure.median for figure in figures}


def check_facts(measurement: Measurement) -> dict[str, float]:
    """Check that a benchmark of the server reports images, machine and engine; return the medians of its figures."""
    assert {"image", "processor", "cores", "load before", "engine"} <= set(measurement.facts)
    return medians(measurement.figures)


def check_targets(measurement: Measurement, speed_figures: Iterable[str] = ()) -> dict[str, float]:
    """Check facts and targets, except those of figures that measure the machine's speed; return the medians."""
    missed = {figure.name for figure in measurement.figures if figure.is_met is False}
    assert missed <= set(speed_figures)
    return check_facts(measurement)
