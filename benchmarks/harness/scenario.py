"""Scenarios: benchmarks as commands of `python -m benchmarks`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from benchmarks.harness.report import Measurement, print_report
from benchmarks.load.closed_loop import find_wrk
from benchmarks.options import JsonOption


@dataclass(frozen=True)
class Scenario:
    """A benchmark and the command that runs it.

    Attributes:
        name: of the command.
        run: Do the benchmark. Its parameters are the command's options, its docstring is the command's help.
        needs_wrk: True if it sends its load with wrk.
    """

    name: str
    run: Callable[..., Measurement]
    needs_wrk: bool = False

    def add_to(self, app: typer.Typer) -> None:
        """Add the command, with the option --json in addition to those of `run`."""

        def command(json_file: Path | None, **options: Any) -> None:
            if self.needs_wrk:
                find_wrk()
            print_report(self.run(**options), json_file)

        # Typer reads options and help from the signature and the docstring.
        signature = inspect.signature(self.run, eval_str=True)
        json_option = inspect.Parameter(
            "json_file", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=JsonOption
        )
        parameters = [*signature.parameters.values(), json_option]
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__doc__ = self.run.__doc__
        app.command(self.name)(command)
