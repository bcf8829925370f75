"""`features`, `fit`, `compare` and `export`, as users call them, on a real network."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models.artifacts.catalog import load
from models.artifacts.store import Store
from tests.support import drawn
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
about = "Pictures of noise, one channel of them brighter."
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
    """Call a command on the recipe in this process: exit code, standard output, standard error."""

    def main(name: str, *words: str, data: Path | str) -> tuple[int, str, str]:
        places = ["--data", str(data), "--store", str(folder / "store"), "--cache", str(folder / "cache")]
        monkeypatch.setattr(sys, "argv", ["training", name, str(folder / "colours.toml"), *places, *words])
        monkeypatch.chdir(folder)
        with pytest.raises(SystemExit) as ended:
            command.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return main


def cached_rows(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "cache").rglob("index.sha256")) // 32


def test_features_are_extracted_once_for_all_that_comes_after(
    call: Call, folder: Path, colours: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["training", "export", str(colours), "--to", str(folder / "shards")])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert not ended.value.code
    assert "train: 160 images in" in capsys.readouterr().out
    code, _, err = call("features", data=folder / "shards")
    assert code == 0, err
    assert [line.partition(" in ")[0] for line in err.splitlines()] == [
        "features of training images: 160 of 160 images",
        "features of test set: 80 of 80 images",
    ]
    assert cached_rows(folder) == 240
    kinds = [f"--head={kind}" for kind in ("ridge", "dense", "xgboost", "logistic")]
    code, out, err = call("compare", *kinds, "--folds", "2", "--out", str(folder / "compared"), data=colours)
    assert code == 0, err
    assert cached_rows(folder) == 240, "the folders hold the same images as the shards"
    written = json.loads((folder / "compared" / "comparison.json").read_text())
    assert [head["kind"] for head in written["heads"]] == ["ridge", "dense", "xgboost", "logistic"]
    assert written["heads"][1]["parameters"]["units"] == [16]
    assert all(head["test"]["images"] == 80 for head in written["heads"])
    assert all(head["kind"] in out for head in written["heads"])
    assert (folder / "compared" / "comparison.png").stat().st_size > 5_000


@pytest.mark.parametrize("kind", ["ridge", "dense"])
def test_a_fitted_head_is_stored_and_answers(call: Call, folder: Path, colours: Path, kind: str) -> None:
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
    assert Store(folder / "store").classifier(kind, 2).manifest.head == manifest.head, "the same seed, the same head"


def test_a_tuned_head_is_stored_with_all_that_was_tried(call: Call, folder: Path, colours: Path) -> None:
    code, out, err = call("fit", "--head", "logistic", "--name", "tuned", "--tune", "3", data=colours)
    assert code == 0, err
    artifact = Store(folder / "store").classifier("tuned")
    tried = artifact.manifest.tuning
    assert len(tried["trials"]) == 3
    best = tried["trials"][tried["best"]]
    assert artifact.manifest.recipe["head"]["C"] == best["parameters"]["C"]
    assert f"{best['log_loss']:.4f}" in out
    assert "the best of 3 by 5-fold cross-validation on the training images" in artifact.read("README.md").decode()


def test_a_network_s_own_softmax_can_be_what_a_head_reads(call: Call, folder: Path, colours: Path) -> None:
    code, _, err = call("fit", "--head", "ridge", "--name", "second", "--output", "colour", data=colours)
    assert code == 0, err
    (classifier,) = load(Store(folder / "store"), ["second"]).classifiers
    assert classifier.output == "colour"
    assert classifier.extractor.manifest.outputs["colour"] == len(drawn.CLASSES)
    assert classifier.manifest.recipe["extractor"]["output"] == "colour"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fit", "--head", "forest"], "There is no head 'forest' to fit. There is: ridge, dense, xgboost, logistic."),
        (["fit", "--output", "probabilities"], "tiny_net@1 has no output 'probabilities'; it has pooled, colour."),
        (["features", "--output", "nosuch"], "tiny_net@1 has no output 'nosuch'; it has pooled, colour."),
        (["compare", "--head", "softmax"], "There is no head 'softmax' to fit. There is: ridge,"),
        (["compare", "--folds", "41"], "'blue' has 40 training images, too few for 41 folds. Add images, or"),
    ],
)
def test_an_error_of_use_is_one_line_and_exit_code_1(
    call: Call, colours: Path, words: list[str], expected: str
) -> None:
    code, _, err = call(*words, data=colours)
    assert code == 1
    said = [line for line in err.splitlines() if not line.startswith(("features of", "ridge: "))]
    assert len(said) == 1
    assert said[0].startswith(expected)
