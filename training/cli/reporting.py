"""Where a command's report goes."""

from __future__ import annotations

from pathlib import Path

from training.cli.options import RUNS, say
from training.evaluation.results import Findings, Report


def reporting(folder: Path | None) -> Report:
    """Writes the report into a folder, by default runs/NAME-VERSION, and says where it lies."""

    def report(findings: Findings) -> None:
        from training.reporting.report import write

        manifest = findings.manifest
        say(f"report: {write(findings, folder or RUNS / f'{manifest.name}-{manifest.version}')}")

    return report
