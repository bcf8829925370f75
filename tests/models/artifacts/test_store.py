from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from models.artifacts.store import MANIFEST_FILE, Store, parse_name
from models.errors import ArtifactError, CorruptArtifact, ModelNotFound
from models.manifests import CARD_FILE, HEAD_FILE, WEIGHTS_FILE, ClassifierManifest, ExtractorManifest, render, sha256
from tests.support.paths import ROOT
from tests.support.tiny_models import classifier_manifest, classifier_of, extractor_manifest

FILES = {HEAD_FILE: b"a head", CARD_FILE: b"# A card"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def save(store: Store, name: str = "colours", contents: Mapping[str, bytes] = FILES) -> Path:
    return store.add(classifier_of(contents, name), ClassifierManifest, name).folder


def save_extractor(store: Store, weights: bytes, name: str = "tiny_net") -> None:
    contents = {WEIGHTS_FILE: weights}

    def build(version: int) -> tuple[ExtractorManifest, Mapping[str, bytes]]:
        return extractor_manifest(contents, name=name, version=version), contents

    store.add(build, ExtractorManifest, name)


# --- saving and finding


def test_what_was_saved_is_found_with_its_files(store: Store) -> None:
    folder = save(store)
    found = store.classifier("colours")
    assert found.folder == folder
    assert found.manifest == classifier_manifest(FILES)
    assert found.label == "colours@1"
    assert {file: found.read(file) for file in FILES} == FILES
    found.verify()


def test_versions_count_up_and_the_newest_is_found(store: Store) -> None:
    assert [save(store).name for _ in range(11)] == [str(version) for version in range(1, 12)]
    assert store.classifier("colours").label == "colours@11", "versions are numbers: 11 is newer than 9"
    assert store.classifier("colours", 2).label == "colours@2"
    assert [artifact.manifest.version for artifact in store.classifiers()] == list(range(11, 0, -1))


def test_a_version_that_was_removed_in_the_middle_is_not_given_again(store: Store) -> None:
    first, *_ = [save(store) for _ in range(3)]
    for file in first.iterdir():
        file.unlink()
    first.rmdir()
    assert save(store).name == "4"


def test_models_are_listed_by_name(store: Store) -> None:
    for name in ("b", "a", "c"):
        save(store, name)
    save_extractor(store, b"weights")
    assert [artifact.label for artifact in store.classifiers()] == ["a@1", "b@1", "c@1"]
    assert [artifact.label for artifact in store.extractors()] == ["tiny_net@1"]


def test_a_store_that_does_not_exist_holds_nothing(store: Store) -> None:
    assert store.classifiers() == []
    with pytest.raises(ModelNotFound, match=r"There is no classifier x in .*store\. There is: none\."):
        store.classifier("x")


def test_what_is_not_there_is_answered_with_what_is(store: Store) -> None:
    save(store)
    with pytest.raises(ModelNotFound, match=r"There is no classifier colours@7 in .*There is: colours@1\."):
        store.classifier("colours", 7)
    with pytest.raises(ModelNotFound, match=r"There is no extractor colours in .*There is: none\."):
        store.extractor("colours")


def test_an_extractor_is_found_by_its_weights_whatever_its_version(store: Store) -> None:
    for weights in (b"old", b"new", b"newest"):
        save_extractor(store, weights)
    below = {"name": "tiny_net", "weights_sha256": sha256(b"new"), "output": "pooled"}
    store.add(lambda _: (classifier_manifest(FILES, extractor=below), FILES), ClassifierManifest, "colours")
    assert store.extractor_of(store.classifier("colours")).label == "tiny_net@2"


def test_a_missing_extractor_is_named(store: Store) -> None:
    save_extractor(store, b"other weights")
    save(store)
    with pytest.raises(ModelNotFound, match=r"colours@1 needs the extractor tiny_net .*with weights 0{12}….*Install"):
        store.extractor_of(store.classifier("colours"))


@pytest.mark.parametrize("change", [{"input_size": 64}, {"outputs": {"colour": 4}}], ids=str)
def test_an_extractor_of_another_size_or_without_the_output_does_not_serve(store: Store, change: Any) -> None:
    contents = {WEIGHTS_FILE: b"weights"}
    manifest = extractor_manifest(contents, **change)
    store.add(lambda _: (manifest, contents), ExtractorManifest, "tiny_net")
    below = {"name": "tiny_net", "weights_sha256": sha256(b"weights"), "output": "pooled"}
    store.add(lambda _: (classifier_manifest(FILES, extractor=below), FILES), ClassifierManifest, "colours")
    with pytest.raises(ModelNotFound, match=r"colours@1 needs the extractor tiny_net for 32 px .*output pooled"):
        store.extractor_of(store.classifier("colours"))


@pytest.mark.parametrize("name", ["a", "0", "cifar10", "inception_v3_96", "a.b-c_d", "x" * 64])
def test_a_good_name_is_taken(store: Store, name: str) -> None:
    save(store, name)
    assert store.classifier(name).manifest.name == name


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "A", "a b", "-a", ".a", "ä", "a@1", "a\n", "x" * 65])
def test_a_bad_name_is_refused_and_writes_nothing(store: Store, name: str) -> None:
    with pytest.raises(ArtifactError, match="is no name for a model: use lower-case letters"):
        save(store, name)
    assert not store.root.exists()


@pytest.mark.parametrize(("model", "expected"), [("a", ("a", None)), ("a@1", ("a", 1)), ("a@007", ("a", 7))])
def test_a_model_is_named_with_or_without_a_version(model: str, expected: tuple[str, int | None]) -> None:
    assert parse_name(model) == expected


@pytest.mark.parametrize("model", ["a@", "a@x", "a@-1", "a@1@2", "a@²", "a@1.0", "a@ 1", "a@" + "9" * 5_000])
def test_a_version_that_is_no_number_is_refused(model: str) -> None:
    with pytest.raises(ModelNotFound, match="is no model: write NAME or NAME@VERSION"):
        parse_name(model)


# --- damage


@pytest.mark.parametrize("file", FILES)
def test_a_changed_file_is_refused_by_name(store: Store, file: str) -> None:
    path = save(store) / file
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    for check in (lambda: store.classifier("colours").verify(), lambda: store.classifier("colours").read(file)):
        with pytest.raises(CorruptArtifact, match=rf"Refusing colours@1 in .*: {file} was changed .*Install this"):
            check()


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_refused_by_name(store: Store, file: str) -> None:
    (save(store) / file).unlink()
    with pytest.raises(CorruptArtifact, match=f"Refusing colours@1 in .*: {file} is missing"):
        store.classifier("colours").verify()


@pytest.mark.parametrize("extra", ["notes.txt", ".hidden", "folder"])
def test_a_file_that_no_manifest_names_is_refused_by_name(store: Store, extra: str) -> None:
    folder = save(store)
    (folder / extra).mkdir() if extra == "folder" else (folder / extra).write_text("x")
    with pytest.raises(CorruptArtifact, match=f"Refusing colours@1 in .*: {extra} does not belong there"):
        store.classifier("colours").verify()


def test_a_folder_that_went_away_is_refused_by_name(store: Store) -> None:
    folder = save(store, contents={})
    found = store.classifier("colours")
    shutil.rmtree(folder)
    with pytest.raises(CorruptArtifact, match=f"{folder}: its folder is missing or cannot be read"):
        found.verify()


def test_a_file_that_the_manifest_does_not_name_is_not_read(store: Store) -> None:
    (save(store) / "other.pkl").write_bytes(b"x")
    with pytest.raises(CorruptArtifact, match=r"its manifest names no other\.pkl"):
        store.classifier("colours").read("other.pkl")


def test_a_missing_or_changed_manifest_is_refused_with_its_folder(store: Store) -> None:
    folder = save(store)
    manifest = folder / MANIFEST_FILE
    manifest.write_bytes(manifest.read_bytes().replace(b"red", b"rad"))
    with pytest.raises(CorruptArtifact, match=rf"Refusing {folder}: its manifest\.json was changed"):
        store.classifiers()
    manifest.unlink()
    with pytest.raises(CorruptArtifact, match=rf"Refusing {folder}: it has no readable manifest\.json"):
        store.classifiers()


def test_an_extractor_without_weights_is_refused_with_its_folder(store: Store) -> None:
    save_extractor(store, b"weights")
    artifact = store.extractor("tiny_net")
    without = artifact.manifest.model_copy(update={"files": {}})
    (artifact.folder / MANIFEST_FILE).write_bytes(render(without))
    with pytest.raises(CorruptArtifact, match=rf"{artifact.folder}: its manifest names no weights\.safetensors"):
        store.extractors()


def test_swapped_versions_are_refused(store: Store) -> None:
    first, second = save(store), save(store, contents={**FILES, HEAD_FILE: b"another"})
    first.rename(first.parent / "aside")
    second.rename(first)
    with pytest.raises(CorruptArtifact, match="its manifest is of colours@2"):
        store.classifiers()


def test_a_renamed_model_is_refused(store: Store) -> None:
    folder = save(store)
    folder.parent.rename(folder.parent.with_name("colors"))
    with pytest.raises(CorruptArtifact, match="its manifest is of colours@1"):
        store.classifiers()


def test_a_classifier_among_the_extractors_is_refused(store: Store) -> None:
    folder = save(store)
    (store.root / "classifiers").rename(store.root / "extractors")
    with pytest.raises(CorruptArtifact, match=str(folder.name)):
        store.extractors()


# --- whole or not at all


def test_a_build_that_fails_leaves_nothing(store: Store) -> None:
    def build(_: int) -> tuple[ClassifierManifest, Mapping[str, bytes]]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.add(build, ClassifierManifest, "colours")
    assert list((store.root / "classifiers" / "colours").iterdir()) == []


def test_a_file_that_cannot_be_written_leaves_nothing(store: Store) -> None:
    with pytest.raises(OSError, match="No such file"):
        save(store, contents={**FILES, "no/such/folder": b""})
    assert list((store.root / "classifiers" / "colours").iterdir()) == []


def test_others_may_read_what_was_saved(store: Store) -> None:
    """A container runs as another user, from a folder that is mounted read-only."""
    folder = save(store)
    assert folder.stat().st_mode & 0o755 == 0o755
    assert all(file.stat().st_mode & 0o444 == 0o444 for file in folder.iterdir())


WRITER = """
import os, signal, sys
from pathlib import Path
from models.artifacts import Store
from models.manifests import ClassifierManifest
from tests.models.test_artifacts import FILES
from tests.models.tiny import classifier_of

left, durably = int(sys.argv[2]), os.fsync

def fsync(descriptor):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    durably(descriptor)

os.fsync = fsync
for _ in range(int(sys.argv[3])):
    saved = Store(Path(sys.argv[1])).save(classifier_of(FILES), ClassifierManifest, "colours")
    print(saved.manifest.version, flush=True)
"""


def writer(store: Store, dies_at_file: int = 0, saves: int = 1) -> subprocess.Popen[str]:
    """A process that saves classifiers, and is killed while it writes the n-th file."""
    arguments = [str(store.root), str(dies_at_file), str(saves)]
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_a_writer_that_is_killed_leaves_no_half_of_an_artifact(store: Store) -> None:
    save(store)
    for process in [writer(store, dies_at_file) for dies_at_file in range(1, len(FILES) + 2)]:
        printed, _ = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, "the writer has to be killed in mid-save"
        assert printed == ""
    assert [artifact.label for artifact in store.classifiers()] == ["colours@1"]
    store.classifier("colours").verify()
    assert len(list((store.root / "classifiers" / "colours").iterdir())) > 1, "a killed writer leaves its staging"
    assert save(store).name == "2"
    assert sorted(path.name for path in (store.root / "classifiers" / "colours").iterdir()) == ["1", "2"], (
        "the next writer has to remove what killed ones left"
    )


def test_writers_at_the_same_time_get_versions_of_their_own(store: Store) -> None:
    processes = [writer(store, saves=5) for _ in range(3)]
    versions = [int(line) for process in processes for line in process.communicate(timeout=60)[0].split()]
    assert sorted(versions) == list(range(1, 16))
    for artifact in store.classifiers():
        artifact.verify()


def test_the_default_store_lies_beside_the_package() -> None:
    assert Store().root == ROOT / "models" / "store"
    assert Store().root.is_absolute(), "and not in the current folder"


def test_a_manifest_on_disk_is_what_render_gives(store: Store) -> None:
    assert (save(store) / MANIFEST_FILE).read_bytes() == render(classifier_manifest(FILES))
