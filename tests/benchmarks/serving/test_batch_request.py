from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.serving.batch_request import IMAGES, measure


def test_batches_are_compared_with_single_requests(tiny_address: str, tmp_path: Path) -> None:
    json_file = tmp_path / "report.json"
    arguments = ["--url", tiny_address, "--requests", "2", "--rounds", "3", "--side", "48", "--json", str(json_file)]
    result = CliRunner().invoke(app, ["batch", *arguments])
    assert result.exit_code == 0, result.output
    figures = json.loads(json_file.read_text())["figures"]
    assert f"{figures[-1]['median']:.4g}" in result.output
    assert all(name in result.output for name in ("processor", "cores", "libraries"))
    assert [len(figure["values"]) for figure in figures] == [3, 3, 3]
    assert all(value > 0 for figure in figures for value in figure["values"])


def test_rejected_images_are_an_error(tiny_address: str) -> None:
    with pytest.raises(RuntimeError, match="unsupported_format"):
        measure(tiny_address, [b"not an image"] * IMAGES, rounds=1, request_count=1)
