"""The name of a classifier of the user's own images, and stores that are not served."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.artifacts.catalog import load
from models.artifacts.store import Store, check_name
from models.manifests import ExtractorManifest
from tests.support.class_folders import png, write
from tests.support.paths import ROOT
from tests.support.training_workspace import Workspace
from training.cli.publishing import suggest_name
from training.heads.unpublished import add_extractor

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("birds", "birds"),
        ("My Birds (2024)", "my_birds_2024"),
        ("Käfer-Fotos", "kafer-fotos"),
        ("v1.2", "v1.2"),
        ("犬", "classifier"),
        ("..hidden", "hidden"),
        ("x" * 100, "x" * 64),
    ],
)
def test_suggested_name_is_derived_from_the_folder(folder: str, name: str) -> None:
    assert suggest_name(Path("/photos") / folder) == name
    check_name(name)


@pytest.mark.parametrize("archive", ["Birds.zip", "birds.tar.gz", "birds.tar"])
def test_suggested_name_has_no_ending_of_an_archive(tmp_path: Path, archive: str) -> None:
    (tmp_path / archive).touch()
    assert suggest_name(tmp_path / archive) == "birds"


def test_terminal_is_asked_for_a_valid_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "My Birds", {"a/1.png": png(1), "b/1.png": png(2)})
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "training", "run", "--data", str(folder), "--store", str(tmp_path / "store")],
        cwd=ROOT,
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
    )
    os.close(terminal)
    os.write(controller, b"not/valid\n\n")
    _, err = process.communicate(timeout=120)
    shown = os.read(controller, 100_000).decode()
    os.close(controller)
    assert "Name of the classifier [my_birds]:" in shown
    assert "'not/valid' is not a valid model name" in shown + err.decode()
    assert b"There is no extractor efficientnet_lite0" in err, "the empty store shows that the run went on"


@pytest.fixture
def stores(workspace: Workspace, tmp_path: Path) -> tuple[Store, Store]:
    """A store with an extractor, and an empty one."""
    return workspace.store, Store(tmp_path / "unpublished")


def test_extractor_is_copied_unchanged_and_once(stores: tuple[Store, Store]) -> None:
    source, target = stores
    (artifact,) = source.extractors()
    for _ in range(2):
        add_extractor(artifact.manifest, source, target)
    (copy,) = target.extractors()
    copy.verify()
    assert copy.manifest == artifact.manifest


def test_extractor_with_another_one_of_its_version_gets_the_next(stores: tuple[Store, Store]) -> None:
    source, target = stores
    (artifact,) = source.extractors()
    files = {name: artifact.read(name) for name in artifact.manifest.files}
    other = artifact.manifest.model_copy(update={"input_size": 64})
    target.add(ExtractorManifest, other.name, lambda version: (other.model_copy(update={"version": version}), files))
    add_extractor(artifact.manifest, source, target)
    assert [item.manifest.version for item in target.extractors()] == [2, 1]
    assert target.extractor(other.name, 2).manifest.input_size == artifact.manifest.input_size


@pytest.mark.parametrize("command", ["run", "fit"])
def test_recipe_that_is_not_published_leaves_the_store_as_it_is(
    workspace: Workspace, tmp_path: Path, command: str
) -> None:
    before = workspace.store.fingerprint()
    report = tmp_path / "my report"
    options = ["--no-publish", "--report", str(report)]
    process = subprocess.run(
        [sys.executable, "-m", "training", command, str(workspace.recipe), *workspace.options, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert workspace.store.fingerprint() == before
    assert (report / "report.html").is_file()
    store = (report / "store").resolve()
    assert f"store: {store}, which no server uses" in process.stdout
    assert f"python -m models classify IMAGES --model colours --store '{store}'" in process.stdout
    shutil.rmtree(workspace.store.root)
    (classifier,) = load(Store(store), ["colours"]).classifiers
    assert classifier.manifest.version == 1
