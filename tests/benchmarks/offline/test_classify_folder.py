from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from benchmarks.__main__ import app
from models.artifacts.store import Store
from models.offline.predict import MAX_BATCH_SIZE


def test_folder_is_compared_with_the_network_alone(network_store: Store, tmp_path: Path) -> None:
    json_file = tmp_path / "report.json"
    options = ["--count", str(MAX_BATCH_SIZE + 16), "--rounds", "1", "--side", "48", "--json", str(json_file)]
    result = CliRunner().invoke(app, ["folder", *options, "--model", "colours", "--store", str(network_store.root)])
    assert result.exit_code == 0, result.output
    values = {figure["name"]: figure["values"] for figure in json.loads(json_file.read_text())["figures"]}
    command, network, ratio = values
    assert (command, ratio) == ("models classify --model colours@2", "ratio")
    assert " alone, " in network
    assert values[ratio] == [values[command][0] / values[network][0]]
