"""Where a command's report goes."""

from __future__ import annotations

from pathlib import Path

from training.cli.options import RUNS, print_line
from training.evaluation.results import ClassifierResults, Report


def reporting(folder: Path | None) -> Report:
    """Writes the report into a folder, by default runs/NAME-VERSION, and says where it lies."""

    def report(findings: ClassifierResults) -> None:
        from training.reporting.report import write

        manifest = findings.manifest
        print_line(f"report: {write(findings, folder or RUNS / f'{manifest.name}-{manifest.version}')}")

    return report
