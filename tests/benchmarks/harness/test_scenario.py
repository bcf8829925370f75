from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.harness.report import Figure, Measurement
from benchmarks.harness.scenario import Scenario
from benchmarks.load.closed_loop import WrkMissing


def run(
    size: Annotated[int, typer.Option(min=1, help="Size of nothing.")] = 2, names: list[str] | None = None
) -> Measurement:
    """Measure nothing at some size."""
    return Measurement("Nothing", [Figure("size", [float(size)]), Figure("names", [float(len(names or []))])])


def app_with(*scenarios: Scenario) -> typer.Typer:
    app = typer.Typer()
    for scenario in scenarios:
        scenario.add_to(app)
    return app


APP = app_with(Scenario("first", run), Scenario("second", run, needs_wrk=True))


def test_options_reach_run_and_the_report_is_printed_and_saved(tmp_path: Path) -> None:
    json_file = tmp_path / "report.json"
    options = ["--size", "3", "--names", "a", "--names", "b", "--json", str(json_file)]
    result = CliRunner().invoke(APP, ["first", *options])
    assert result.exit_code == 0, result.output
    assert "Nothing" in result.output
    assert [figure["median"] for figure in json.loads(json_file.read_text())["figures"]] == [3, 2]


def test_help_has_the_docstring_and_all_options() -> None:
    result = CliRunner().invoke(APP, ["first", "--help"], env={"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"})
    assert "Measure nothing at some size." in result.output
    assert all(text in result.output for text in ("--size", "Size of nothing.", "[default: 2]", "--names", "--json"))


def test_invalid_option_is_a_usage_error() -> None:
    assert CliRunner().invoke(APP, ["first", "--size", "0"]).exit_code == 2


def test_missing_wrk_is_reported_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert CliRunner().invoke(APP, ["first"]).exit_code == 0
    assert isinstance(CliRunner().invoke(APP, ["second"]).exception, WrkMissing)
