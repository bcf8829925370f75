"""The commands `features`, `fit`, `compare` and `export`, called like by a user, with a real network."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models.artifacts.catalog import load
from models.artifacts.store import Store
from tests.support import colour_dataset
from training import __main__ as command

RECIPE = """
name = "colours"

[data]
path = "colours"

[extractor]
name = "tiny_net"

[preprocess]
size = 32

[head]
kind = "dense"
units = [16]
learning_rate = 0.01
epochs = 4

[card]
title = "Colours"
about = "Images of noise with one brighter channel."
"""

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(network_store: Store, colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an extractor, a recipe, and the dataset as TFRecord shards."""
    folder = tmp_path_factory.mktemp("place")
    shutil.copytree(network_store.root / "extractors", folder / "store" / "extractors")
    (folder / "colours.toml").write_text(RECIPE)
    return folder


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call a command on the recipe in this process; returns exit code, standard output and standard error."""

    def main(name: str, *words: str, data: Path | str) -> tuple[int, str, str]:
        options = ["--data", str(data), "--store", str(folder / "store"), "--cache", str(folder / "cache")]
        monkeypatch.setattr(sys, "argv", ["training", name, str(folder / "colours.toml"), *options, *words])
        monkeypatch.chdir(folder)
        with pytest.raises(SystemExit) as exit_info:
            command.main()
        return int(exit_info.value.code or 0), *capsys.readouterr()

    return main


def cached_rows(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "cache").rglob("index.sha256")) // 32


def test_features_are_extracted_once_for_all_later_commands(
    call: Call, folder: Path, colours: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["training", "export", str(colours), "--to", str(folder / "shards")])
    with pytest.raises(SystemExit) as exit_info:
        command.main()
    assert not exit_info.value.code
    assert "train: 160 images in" in capsys.readouterr().out
    code, _, err = call("features", data=folder / "shards")
    assert code == 0, err
    assert [line.partition(" in ")[0] for line in err.splitlines()] == [
        "near duplicates: 240 of 240 images",
        "features of training images: 160 of 160 images",
        "features of test set: 80 of 80 images",
    ]
    assert cached_rows(folder) == 240
    kinds = [f"--head={kind}" for kind in ("ridge", "dense", "xgboost", "logistic")]
    code, out, err = call("compare", *kinds, "--folds", "2", "--out", str(folder / "comparison"), data=colours)
    assert code == 0, err
    assert cached_rows(folder) == 240, "the folders hold the same images as the shards"
    written = json.loads((folder / "comparison" / "comparison.json").read_text())
    assert [head["kind"] for head in written["heads"]] == ["ridge", "dense", "xgboost", "logistic"]
    assert written["heads"][1]["parameters"]["units"] == [16]
    assert all(head["test"]["images"] == 80 for head in written["heads"])
    assert all(head["kind"] in out for head in written["heads"])
    assert (folder / "comparison" / "comparison.png").stat().st_size > 5_000


@pytest.mark.parametrize("kind", ["ridge", "dense"])
def test_fitted_head_is_stored_and_can_be_loaded(call: Call, folder: Path, colours: Path, kind: str) -> None:
    code, out, err = call("fit", "--head", kind, "--name", kind, data=colours)
    assert code == 0, err
    assert "accuracy" in out
    assert (folder / "runs" / f"{kind}-1" / "report.html").is_file()
    (classifier,) = load(Store(folder / "store"), [kind]).classifiers
    manifest = classifier.manifest
    assert (manifest.head.kind, manifest.recipe["head"]["kind"]) == (kind, kind)
    assert manifest.metrics["test"].accuracy > 0.6
    assert manifest.tuning == {}
    again = call("fit", "--head", kind, "--name", kind, data=colours)
    assert again[0] == 0
    assert Store(folder / "store").classifier(kind, 2).manifest.head == manifest.head, "the same seed gave another head"


def test_tuned_head_is_stored_with_all_trials(call: Call, folder: Path, colours: Path) -> None:
    code, out, err = call("fit", "--head", "logistic", "--name", "tuned", "--tune", "3", data=colours)
    assert code == 0, err
    artifact = Store(folder / "store").classifier("tuned")
    tuning = artifact.manifest.tuning
    assert len(tuning["trials"]) == 3
    best = tuning["trials"][tuning["best"]]
    assert artifact.manifest.recipe["head"]["C"] == best["parameters"]["C"]
    assert f"{best['log_loss']:.4f}" in out
    assert "chosen among 3 by 5-fold cross-validation on the training images" in artifact.read("README.md").decode()


def test_head_can_use_the_network_softmax_as_features(call: Call, folder: Path, colours: Path) -> None:
    code, _, err = call("fit", "--head", "ridge", "--name", "second", "--output", "colour", data=colours)
    assert code == 0, err
    (classifier,) = load(Store(folder / "store"), ["second"]).classifiers
    assert classifier.output == "colour"
    assert classifier.extractor.manifest.outputs["colour"] == len(colour_dataset.CLASSES)
    assert classifier.manifest.recipe["extractor"]["output"] == "colour"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fit", "--head", "forest"], "There is no head 'forest'. Use one of: ridge, dense, xgboost, logistic."),
        (["fit", "--output", "probabilities"], "tiny_net@1 has no output 'probabilities'; it has pooled, colour."),
        (["features", "--output", "nosuch"], "tiny_net@1 has no output 'nosuch'; it has pooled, colour."),
        (["compare", "--head", "softmax"], "There is no head 'softmax'. Use one of: ridge,"),
        (["compare", "--folds", "41"], "'blue' has 40 training images, too few for 41 folds. Add images, or"),
    ],
)
def test_usage_error_is_one_line_and_exit_code_1(call: Call, colours: Path, words: list[str], expected: str) -> None:
    code, _, err = call(*words, data=colours)
    assert code == 1
    messages = [line for line in err.splitlines() if not line.startswith(("features of", "ridge: "))]
    assert len(messages) == 1
    assert messages[0].startswith(expected)
