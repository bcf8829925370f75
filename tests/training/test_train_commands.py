"""The training commands on a trained classifier: errors, evaluation and predictions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.__main__ import app as models_app
from models.artifacts.store import Store
from tests.support import colour_dataset
from tests.support.paths import ROOT
from tests.support.training_workspace import FirstRun
from tests.support.undecodable_names import write_file
from training import __main__ as command

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Call the command line in this process; returns exit code, standard output and standard error."""

    def main(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["training", *arguments])
        with pytest.raises(SystemExit) as ended:
            command.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return main


Call = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "nosuch"], "There is no recipe 'nosuch'"),
        (["run", "RECIPE", "--data", "/nosuch"], "There is no dataset at /nosuch"),
        (
            ["run", "RECIPE", "--data", "DATA", "--weights", "/nosuch.safetensors"],
            "There is no weights file /nosuch.safetensors",
        ),
        (["run", "RECIPE", "--passes", "3"], "colours does not fit its network"),
        (["run", "RECIPE", "--name", "[bold]/x"], "'[bold]/x' is not a valid model name"),
        (["predict", "/nosuch", "--model", "colours"], "There are no images in /nosuch"),
        (["predict", "DATA", "--model", "nosuch"], "There is no classifier nosuch"),
        (["evaluate", "--model", "nosuch", "--data", "DATA"], "There is no classifier nosuch"),
        (["evaluate", "--model", "no@such", "--data", "DATA"], "'no@such' is not a model: write NAME or NAME@VERSION"),
        (["evaluate", "--model", "colours", "--data", "/nosuch"], "There is no dataset at /nosuch"),
        (["evaluate", "--model", "colours", "--data", "DATA", "--split", "nosuch"], "There is no folder"),
        (["evaluate", "--model", "colours", "--data", "DATA", "--url", "http://127.0.0.1:9"], "No response from"),
    ],
)
def test_user_error_is_one_line_and_exit_code_1(
    call: Call, tmp_path: Path, colours: Path, first: FirstRun, arguments: list[str], expected: str
) -> None:
    recipe = tmp_path / "colours.toml"
    recipe.write_text(colour_dataset.RECIPE)
    words = [{"RECIPE": str(recipe), "DATA": str(colours)}.get(word, word) for word in arguments]
    code, _, err = call(*words, "--store", str(first[0] / "store"), "--cache", str(tmp_path / "cache"))
    lines = [line for line in err.splitlines() if not line.startswith("colours@1 on test")]
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith(expected)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "cifar10", "--passes", "-1"],
        ["evaluate", "--model", "colours"],
        ["evaluate", "--model", "colours", "--data", ".", "--rename", "red"],
        ["nosuch"],
    ],
)
def test_wrong_usage_is_exit_code_2(call: Call, first: FirstRun, arguments: list[str]) -> None:
    store = ["--store", str(first[0] / "store")] if arguments[0] == "evaluate" else []
    code, _, err = call(*arguments, *store)
    assert code == 2
    assert "Traceback" not in err


def test_evaluation_gives_the_metrics_of_the_manifest_and_a_report(
    call: Call, tmp_path: Path, colours: Path, first: FirstRun
) -> None:
    options = ["--model", "colours", "--data", str(colours), "--store", str(first[0] / "store")]
    code, out, err = call("evaluate", *options, "--json")
    assert code == 0, err
    expected = Store(first[0] / "store").classifier("colours", 1).manifest.metrics["test"].model_dump(mode="json")
    assert json.loads(out) == {
        name: pytest.approx(value, abs=1e-6) if name != "accuracy_by_class" else value
        for name, value in expected.items()
    }
    reported = json.loads((tmp_path / "runs" / "colours-1-test" / "metrics.json").read_text())
    assert reported["accuracy"] == pytest.approx(expected["accuracy"])
    assert (tmp_path / "runs" / "colours-1-test" / "report.html").is_file()
    code, out, err = call("evaluate", *options, "--split", "train", "--report", str(tmp_path / "train"))
    assert code == 0, err
    assert "160" in out
    assert json.loads((tmp_path / "train" / "metrics.json").read_text())["images"] == 160


def test_predictions_are_written_and_unreadable_files_reported(
    call: Call, tmp_path: Path, colours: Path, first: FirstRun
) -> None:
    shutil.copytree(colours / "test" / "red", tmp_path / "red")
    (tmp_path / "red" / "notes.txt").write_text("not an image")
    code, out, err = call(
        "predict",
        str(tmp_path / "red"),
        "--model",
        "colours",
        "--out",
        str(tmp_path / "out"),
        "--store",
        str(first[0] / "store"),
    )
    assert code == 1, "a file could not be read"
    assert "notes.txt: " in err
    assert f"{tmp_path / 'out' / 'results.csv'}: predictions for 20 images" in out
    lines = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert lines[0] == "file,label,score,error"
    assert lines[1].startswith("000.png,red,0.")
    assert lines[-1].startswith('notes.txt,,,"This is not an image')
    assert len(lines) == 22


def test_predict_and_classify_labels_write_the_same_rows(
    call: Call, tmp_path: Path, colours: Path, first: FirstRun
) -> None:
    folder, options = tmp_path / "red", ["--model", "colours", "--store", str(first[0] / "store")]
    shutil.copytree(colours / "test" / "red", folder)
    (folder / "notes.txt").write_text("not an image")
    for format_options, header in (([], "file,label,score,error"), (["--post"], "Filename,Predictions")):
        code, _, err = call("predict", str(folder), "--out", str(tmp_path), *options, *format_options)
        assert code == 1, err
        predicted = (tmp_path / "results.csv").read_text(encoding="utf-8")
        command = ["classify", str(folder), *(format_options or ["--labels"]), *options]
        classified = CliRunner().invoke(models_app, command).stdout
        assert classified.replace(f"{folder}/", "") == predicted
        assert predicted.splitlines()[0] == header
        assert len(predicted.splitlines()) == 22


def run_process(encoding: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command as a process whose standard output and error have an encoding."""
    command, environment = [sys.executable, "-m", "training", *arguments], {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii"])
def test_prediction_of_names_that_are_not_utf8_reports_and_writes_all(
    tmp_path: Path, colours: Path, first: FirstRun, encoding: str
) -> None:
    folder, out = tmp_path / "old", tmp_path / os.fsdecode(b"gr\xfcn")
    folder.mkdir()
    for name in (b"a.png", b"caf\xe9.png", b"z.png"):
        write_file(folder, name, (colours / "test" / "red" / "000.png").read_bytes())
    write_file(folder, b"k\xe4se.txt", b"not an image")
    options = ["--model", "colours", "--store", str(first[0] / "store"), "--out", str(out)]
    process = run_process(encoding, "predict", str(folder), *options)
    assert process.returncode == 1
    assert b"Traceback" not in process.stderr
    assert (b"k\xe4se.txt: " if encoding == "utf-8:strict" else rb"k\xe4se.txt: ") in process.stderr
    assert (b"gr\xfcn/results.csv" if encoding == "utf-8:strict" else rb"gr\xfcn/results.csv") in process.stdout
    table = (out / "results.csv").read_text(encoding="utf-8")
    assert [line.partition(",")[0] for line in table.splitlines()[1:]] == [
        "a.png",
        r"caf\xe9.png",
        r"k\xe4se.txt",
        "z.png",
    ]


def test_split_with_an_unusual_name_is_evaluated(tmp_path: Path, colours: Path, first: FirstRun) -> None:
    split = write_file(tmp_path, b"caf\xe9 [red]", b"").name
    shutil.copytree(colours / "test", tmp_path / "data" / split)
    report = tmp_path / "report"
    options = ["--model", "colours", "--data", str(tmp_path / "data"), "--store", str(first[0] / "store")]
    process = run_process("utf-8:strict", "evaluate", *options, "--split", split, "--report", str(report))
    assert process.returncode == 0, process.stderr
    assert b"caf\xe9 [red]" in process.stdout
    assert json.loads((report / "metrics.json").read_text(encoding="utf-8"))["set"] == r"caf\xe9 [red]"
    assert r"caf\xe9 [red]" in (report / "report.html").read_text(encoding="utf-8")
