"""Artifacts on disk: written atomically, read with verified digests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from models.artifacts.store import MANIFEST_FILE, Store, parse_name
from models.errors import ArtifactError, CorruptArtifact, ModelNotFound, ModelsError
from models.manifests import HEAD_FILE, WEIGHTS_FILE, ClassifierManifest, ExtractorManifest, render, sha256
from tests.support.manifests import FILES, classifier_manifest, classifier_of, extractor_manifest
from tests.support.paths import ROOT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def add_classifier(store: Store, name: str = "colours", contents: Mapping[str, bytes] = FILES) -> Path:
    return store.add(ClassifierManifest, name, classifier_of(contents, name)).folder


def add_extractor(store: Store, weights: bytes, name: str = "tiny_net") -> None:
    contents = {WEIGHTS_FILE: weights}

    def build(version: int) -> tuple[ExtractorManifest, Mapping[str, bytes]]:
        return extractor_manifest(contents, name=name, version=version), contents

    store.add(ExtractorManifest, name, build)


# --- adding and lookup


def test_added_artifact_is_read_back(store: Store) -> None:
    folder = add_classifier(store)
    artifact = store.classifier("colours")
    assert artifact.folder == folder
    assert artifact.manifest == classifier_manifest(FILES)
    assert artifact.label == "colours@1"
    assert {file: artifact.read(file) for file in FILES} == FILES
    artifact.verify()


def test_versions_increase_and_the_newest_is_the_default(store: Store) -> None:
    assert [add_classifier(store).name for _ in range(11)] == [str(version) for version in range(1, 12)]
    assert store.classifier("colours").label == "colours@11", "versions are numbers: 11 is newer than 9"
    assert store.classifier("colours", 2).label == "colours@2"
    assert [artifact.manifest.version for artifact in store.classifiers()] == list(range(11, 0, -1))


def test_removed_version_number_is_not_reused(store: Store) -> None:
    first, *_ = [add_classifier(store) for _ in range(3)]
    for file in first.iterdir():
        file.unlink()
    first.rmdir()
    assert add_classifier(store).name == "4"


def test_models_are_sorted_by_name(store: Store) -> None:
    for name in ("b", "a", "c"):
        add_classifier(store, name)
    add_extractor(store, b"weights")
    assert [artifact.label for artifact in store.classifiers()] == ["a@1", "b@1", "c@1"]
    assert [artifact.label for artifact in store.extractors()] == ["tiny_net@1"]


def test_missing_store_is_empty(store: Store) -> None:
    assert store.classifiers() == []
    with pytest.raises(ModelNotFound, match=r"There is no classifier x in .*store\. Available: none\."):
        store.classifier("x")


def test_unknown_model_lists_the_available_ones(store: Store) -> None:
    add_classifier(store)
    with pytest.raises(ModelNotFound, match=r"There is no classifier colours@7 in .*Available: colours@1\."):
        store.classifier("colours", 7)
    with pytest.raises(ModelNotFound, match=r"There is no extractor colours in .*Available: none\."):
        store.extractor("colours")


def test_extractor_is_matched_by_its_weights(store: Store) -> None:
    for weights in (b"old", b"new", b"newest"):
        add_extractor(store, weights)
    reference = {"name": "tiny_net", "weights_sha256": sha256(b"new"), "output": "pooled"}
    store.add(ClassifierManifest, "colours", lambda _: (classifier_manifest(FILES, extractor=reference), FILES))
    assert store.extractor_of(store.classifier("colours")).label == "tiny_net@2"


def test_missing_extractor_is_named(store: Store) -> None:
    add_extractor(store, b"other weights")
    add_classifier(store)
    with pytest.raises(ModelNotFound, match=r"colours@1 needs the extractor tiny_net .*with weights 0{12}….*Install"):
        store.extractor_of(store.classifier("colours"))


@pytest.mark.parametrize("change", [{"input_size": 64}, {"outputs": {"colour": 4}}], ids=str)
def test_extractor_must_match_input_size_and_output(store: Store, change: Any) -> None:
    contents = {WEIGHTS_FILE: b"weights"}
    manifest = extractor_manifest(contents, **change)
    store.add(ExtractorManifest, "tiny_net", lambda _: (manifest, contents))
    reference = {"name": "tiny_net", "weights_sha256": sha256(b"weights"), "output": "pooled"}
    store.add(ClassifierManifest, "colours", lambda _: (classifier_manifest(FILES, extractor=reference), FILES))
    with pytest.raises(ModelNotFound, match=r"colours@1 needs the extractor tiny_net for 32 px .*output pooled"):
        store.extractor_of(store.classifier("colours"))


@pytest.mark.parametrize("name", ["a", "0", "cifar10", "inception_v3_96", "a.b-c_d", "x" * 64])
def test_valid_name_is_accepted(store: Store, name: str) -> None:
    add_classifier(store, name)
    assert store.classifier(name).manifest.name == name


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "A", "a b", "-a", ".a", "ä", "a@1", "a\n", "x" * 65])
def test_invalid_name_is_rejected_and_writes_nothing(store: Store, name: str) -> None:
    with pytest.raises(ArtifactError, match="is not a valid model name: use lower-case letters"):
        add_classifier(store, name)
    assert not store.root.exists()


@pytest.mark.parametrize(("model", "expected"), [("a", ("a", None)), ("a@1", ("a", 1)), ("a@007", ("a", 7))])
def test_parse_name_with_and_without_version(model: str, expected: tuple[str, int | None]) -> None:
    assert parse_name(model) == expected


@pytest.mark.parametrize("model", ["a@", "a@x", "a@-1", "a@1@2", "a@²", "a@1.0", "a@ 1", "a@" + "9" * 5_000])
def test_parse_name_rejects_invalid_versions(model: str) -> None:
    with pytest.raises(ModelNotFound, match="is not a model: write NAME or NAME@VERSION"):
        parse_name(model)


# --- corruption


@pytest.mark.parametrize("file", FILES)
def test_changed_file_is_named(store: Store, file: str) -> None:
    path = add_classifier(store) / file
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    for check in (lambda: store.classifier("colours").verify(), lambda: store.classifier("colours").read(file)):
        with pytest.raises(CorruptArtifact, match=rf"Cannot load colours@1 in .*: {file} was changed .*Install this"):
            check()


@pytest.mark.parametrize("file", FILES)
def test_missing_file_is_named(store: Store, file: str) -> None:
    (add_classifier(store) / file).unlink()
    with pytest.raises(CorruptArtifact, match=f"Cannot load colours@1 in .*: {file} is missing"):
        store.classifier("colours").verify()


@pytest.mark.parametrize("extra", ["notes.txt", ".hidden", "folder"])
def test_unlisted_file_is_named(store: Store, extra: str) -> None:
    folder = add_classifier(store)
    (folder / extra).mkdir() if extra == "folder" else (folder / extra).write_text("x")
    with pytest.raises(CorruptArtifact, match=f"Cannot load colours@1 in .*: {extra} is not listed in its manifest"):
        store.classifier("colours").verify()


def test_removed_folder_is_named(store: Store) -> None:
    folder = add_classifier(store, contents={})
    artifact = store.classifier("colours")
    shutil.rmtree(folder)
    with pytest.raises(CorruptArtifact, match=f"{folder}: its folder is missing or cannot be read"):
        artifact.verify()


def test_unlisted_file_is_not_read(store: Store) -> None:
    (add_classifier(store) / "other.pkl").write_bytes(b"x")
    with pytest.raises(CorruptArtifact, match=r"its manifest does not list other\.pkl"):
        store.classifier("colours").read("other.pkl")


def test_missing_or_changed_manifest_names_its_folder(store: Store) -> None:
    folder = add_classifier(store)
    manifest = folder / MANIFEST_FILE
    manifest.write_bytes(manifest.read_bytes().replace(b"red", b"rad"))
    with pytest.raises(CorruptArtifact, match=rf"Cannot load {folder}: its manifest\.json was changed"):
        store.classifiers()
    manifest.unlink()
    with pytest.raises(CorruptArtifact, match=rf"Cannot load {folder}: it has no readable manifest\.json"):
        store.classifiers()


def test_extractor_without_weights_names_its_folder(store: Store) -> None:
    add_extractor(store, b"weights")
    artifact = store.extractor("tiny_net")
    without = artifact.manifest.model_copy(update={"files": {}})
    (artifact.folder / MANIFEST_FILE).write_bytes(render(without))
    with pytest.raises(CorruptArtifact, match=rf"{artifact.folder}: its manifest does not list weights\.safetensors"):
        store.extractors()


def test_swapped_versions_are_rejected(store: Store) -> None:
    first, second = add_classifier(store), add_classifier(store, contents={**FILES, HEAD_FILE: b"another"})
    first.rename(first.parent / "moved")
    second.rename(first)
    with pytest.raises(CorruptArtifact, match="its manifest belongs to colours@2"):
        store.classifiers()


def test_renamed_model_is_rejected(store: Store) -> None:
    folder = add_classifier(store)
    folder.parent.rename(folder.parent.with_name("colors"))
    with pytest.raises(CorruptArtifact, match="its manifest belongs to colours@1"):
        store.classifiers()


def test_classifier_in_the_extractors_folder_is_rejected(store: Store) -> None:
    folder = add_classifier(store)
    (store.root / "classifiers").rename(store.root / "extractors")
    with pytest.raises(CorruptArtifact, match=str(folder.name)):
        store.extractors()


# --- paths, links and special files


@pytest.mark.parametrize(
    "file", ["../secret", "/etc/passwd", "a/b", "..", ".", ".hidden", "", "a\n", "a\0", "C:\\a", "ä", "x" * 101]
)
def test_manifest_with_a_path_is_rejected(store: Store, file: str) -> None:
    folder = add_classifier(store)
    content = json.loads((folder / MANIFEST_FILE).read_bytes())
    for change in ({"files": {file: "0" * 64}}, {"head": {**content["head"], "file": file}}):
        changed = {**content, **change}
        changed.pop("digest")
        body = (json.dumps(changed, indent=2, ensure_ascii=False) + "\n").encode()
        with_digest = {"digest": sha256(body), **changed}
        (folder / MANIFEST_FILE).write_text(json.dumps(with_digest, indent=2, ensure_ascii=False) + "\n")
        with pytest.raises(CorruptArtifact, match=r"colours/1: its manifest\.json was changed or is damaged"):
            store.classifiers()


def to_link(path: Path) -> None:
    path.rename(path.parents[4] / path.name)
    path.symlink_to(path.parents[4] / path.name)


def to_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_huge_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse


@pytest.mark.timeout(20)
@pytest.mark.parametrize("change", [to_link, to_fifo, to_huge_file])
@pytest.mark.parametrize("file", [HEAD_FILE, MANIFEST_FILE])
def test_file_of_another_kind_is_rejected_at_once(store: Store, file: str, change: Callable[[Path], None]) -> None:
    folder = add_classifier(store)
    change(folder / file)
    with pytest.raises(CorruptArtifact, match=r"Cannot load .*colours.*(not a regular file|has more than)"):
        store.classifier("colours").verify()
    assert store.fingerprint()


def test_scan_lists_intact_artifacts_and_collects_errors(store: Store) -> None:
    for name in ("a", "b", "c"):
        (add_classifier(store, name) / MANIFEST_FILE).write_bytes(b"x" if name == "b" else render_of(store, name))
    errors: list[ModelsError] = []
    assert [artifact.label for artifact in store.scan(ClassifierManifest, errors)] == ["a@1", "c@1"]
    assert ["classifiers/b/1" in str(error) for error in errors] == [True]


def render_of(store: Store, name: str) -> bytes:
    return (store.root / "classifiers" / name / "1" / MANIFEST_FILE).read_bytes()


# --- atomic writes


def test_failing_build_leaves_no_files(store: Store) -> None:
    def build(_: int) -> tuple[ClassifierManifest, Mapping[str, bytes]]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.add(ClassifierManifest, "colours", build)
    assert list((store.root / "classifiers" / "colours").iterdir()) == []


def test_failing_write_leaves_no_files(store: Store) -> None:
    with pytest.raises(OSError, match="No such file"):
        store.add(
            ClassifierManifest,
            "colours",
            lambda version: (classifier_manifest(FILES, version=version), {**FILES, "no/such/folder": b""}),
        )
    assert list((store.root / "classifiers" / "colours").iterdir()) == []


def test_artifacts_are_readable_by_other_users(store: Store) -> None:
    """Containers run as another user, with the store mounted read-only."""
    folder = add_classifier(store)
    assert folder.stat().st_mode & 0o755 == 0o755
    assert all(file.stat().st_mode & 0o444 == 0o444 for file in folder.iterdir())


WRITER = """
import os, signal, sys
from pathlib import Path
from models.artifacts.store import Store
from models.manifests import ClassifierManifest
from tests.support.manifests import FILES, classifier_of

remaining, real_fsync = int(sys.argv[2]), os.fsync

def fsync(descriptor):
    global remaining
    remaining -= 1
    if remaining == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real_fsync(descriptor)

os.fsync = fsync
for _ in range(int(sys.argv[3])):
    artifact = Store(Path(sys.argv[1])).add(ClassifierManifest, "colours", classifier_of(FILES))
    print(artifact.manifest.version, flush=True)
"""


def writer(store: Store, killed_at_file: int = 0, count: int = 1) -> subprocess.Popen[str]:
    """Start a process that adds classifiers, and is killed while it writes the n-th file."""
    arguments = [str(store.root), str(killed_at_file), str(count)]
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_killed_writer_leaves_no_partial_artifact(store: Store) -> None:
    add_classifier(store)
    for process in [writer(store, killed_at_file) for killed_at_file in range(1, len(FILES) + 2)]:
        printed, _ = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, "the writer was not killed while it wrote"
        assert printed == ""
    assert [artifact.label for artifact in store.classifiers()] == ["colours@1"]
    store.classifier("colours").verify()
    assert len(list((store.root / "classifiers" / "colours").iterdir())) > 1, (
        "the killed writers left no staging folder"
    )
    assert add_classifier(store).name == "2"
    assert sorted(path.name for path in (store.root / "classifiers" / "colours").iterdir()) == ["1", "2"], (
        "the next writer must remove the staging folders"
    )


def test_files_are_durable_before_the_folder_appears(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a loss of power could leave a folder of empty files."""
    synced: dict[int, int] = {}
    real_fsync, final = os.fsync, store.root / "classifiers" / "colours" / "1"

    def fsync(descriptor: int) -> None:
        real_fsync(descriptor)
        assert not final.exists()
        status = os.fstat(descriptor)
        synced[status.st_ino] = status.st_size

    monkeypatch.setattr(os, "fsync", fsync)
    files = list(add_classifier(store).iterdir())
    assert len(files) == len(FILES) + 1
    assert all(synced[path.stat().st_ino] == path.stat().st_size > 0 for path in files)


def test_concurrent_writers_get_distinct_versions(store: Store) -> None:
    processes = [writer(store, count=5) for _ in range(3)]
    versions = [int(line) for process in processes for line in process.communicate(timeout=60)[0].split()]
    assert sorted(versions) == list(range(1, 16))
    for artifact in store.classifiers():
        artifact.verify()


def test_default_store_is_inside_the_package() -> None:
    assert Store().root == ROOT / "models" / "store"
    assert Store().root.is_absolute(), "the default store depends on the working directory"


def test_manifest_on_disk_equals_render(store: Store) -> None:
    assert (add_classifier(store) / MANIFEST_FILE).read_bytes() == render(classifier_manifest(FILES))


def test_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, _pattern: str) -> list[Path]:
        raise PermissionError(13, "Permission denied", str(folder / "cifar10"))

    monkeypatch.setattr(Path, "glob", fail)
    with pytest.raises(CorruptArtifact, match=r"Cannot load .*classifiers: .*cifar10 cannot be read"):
        Store(tmp_path).classifiers()
