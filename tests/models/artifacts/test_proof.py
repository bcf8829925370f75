"""Proof of artifacts in another process: what crashes, hangs or grows there is rejected with one line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from models.artifacts import catalog, proof
from models.artifacts.catalog import Catalog, key_of
from models.artifacts.store import MANIFEST_FILE, Store
from models.engines.selection import EngineSelection
from models.errors import ArtifactsRejected, CorruptArtifact
from models.manifests import HEAD_FILE, ClassifierManifest, parse, render
from tests.support.manifests import copy_classifier
from tests.support.paths import ROOT
from tests.support.polling import wait_until

ONE_THREAD = EngineSelection(threads=1)


@pytest.fixture
def loaded(own_store: Store) -> Catalog:
    return catalog.load(own_store, selection=ONE_THREAD)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prove with a process that has faults."""
    command = (sys.executable, "-m", "tests.support.faulty_proof_worker")
    monkeypatch.setattr(proof, "WORKER_COMMAND", command)


def reasons(store: Store, loaded: Catalog) -> list[str]:
    """Return why artifacts are rejected, a line for each; none if all are proved."""
    try:
        proof.prove_changes(store, ONE_THREAD, loaded)
    except ArtifactsRejected as error:
        return [str(reason) for reason in error.reasons]
    return []


# --- artifacts that are proved


def test_new_artifacts_are_proved(own_store: Store) -> None:
    everything = {key_of(artifact.manifest) for artifact in own_store.classifiers()}
    everything |= {key_of(artifact.manifest) for artifact in own_store.extractors()}
    assert proof.prove_changes(own_store, ONE_THREAD, Catalog(())) == everything


def test_only_artifacts_that_are_not_loaded_are_proved(own_store: Store, loaded: Catalog) -> None:
    copy_classifier(own_store, "more", of="trees")
    key = key_of(own_store.classifier("more").manifest)
    assert proof.prove_changes(own_store, ONE_THREAD, loaded) == {key}


def test_no_process_starts_for_an_unchanged_store(
    own_store: Store, loaded: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "WORKER_COMMAND", ("/does/not/exist",))
    assert proof.prove_changes(own_store, ONE_THREAD, loaded) == frozenset()


def test_proved_artifacts_are_loaded(own_store: Store, loaded: Catalog) -> None:
    copy_classifier(own_store, "more", of="trees")
    proved = proof.prove_changes(own_store, ONE_THREAD, loaded)
    more = catalog.load(own_store, selection=ONE_THREAD, previous=loaded, proved=proved)
    assert more.find("more").head.estimator.fits(64, 4)  # type: ignore[attr-defined]
    assert more.find("trees") is loaded.find("trees")


def test_artifact_that_changes_after_its_proof_is_not_loaded(own_store: Store, loaded: Catalog) -> None:
    folder = copy_classifier(own_store, "more", of="trees")
    proved = proof.prove_changes(own_store, ONE_THREAD, loaded)
    shutil.rmtree(folder)
    copy_classifier(own_store, "more", of="colours")
    with pytest.raises(CorruptArtifact, match=r"Cannot load more@1 in .*: it changes at present"):
        catalog.load(own_store, selection=ONE_THREAD, previous=loaded, proved=proved)


def test_file_that_changes_after_its_proof_is_not_loaded(own_store: Store, loaded: Catalog) -> None:
    folder = copy_classifier(own_store, "more", of="trees")
    proved = proof.prove_changes(own_store, ONE_THREAD, loaded)
    (folder / HEAD_FILE).write_bytes(own_store.classifier("colours").read(HEAD_FILE))
    with pytest.raises(CorruptArtifact, match=r"Cannot load more@1 in .*: head\.pkl was changed"):
        catalog.load(own_store, selection=ONE_THREAD, previous=loaded, proved=proved)


# --- artifacts that are rejected


def test_every_invalid_artifact_is_named(own_store: Store, loaded: Catalog) -> None:
    first, second, third, _ = (copy_classifier(own_store, name) for name in ("first", "second", "third", "valid"))
    orphan = copy_classifier(own_store, "orphan")
    content = parse((orphan / MANIFEST_FILE).read_bytes(), ClassifierManifest)
    reference = content.extractor.model_copy(update={"weights_sha256": "0" * 64})
    (orphan / MANIFEST_FILE).write_bytes(render(content.model_copy(update={"extractor": reference})))
    (first / HEAD_FILE).write_bytes(b"x")
    (second / MANIFEST_FILE).write_bytes(b"x")
    (third / "more.bin").write_bytes(b"x")
    expected = [
        "second/1: its manifest.json was",
        "orphan@1 needs the",
        "first@1 in .*: head.pkl was",
        "third@1 in .*: more",
    ]
    lines = reasons(own_store, loaded)
    assert [bool(re.search(pattern, line)) for pattern, line in zip(expected, lines, strict=True)] == [True] * 4


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("crashes", r"a process that loaded it crashed \(SIGSEGV\)\. Do not trust its source"),
        ("computes", "loading it takes too long"),
        ("grows", "it needs more memory than allowed"),
        ("leaves", "a process that loaded it ended with exit code 3"),
    ],
)
def test_fault_is_reported_and_the_others_are_still_proved(
    faulty: None, own_store: Store, loaded: Catalog, fault: str, cause: str
) -> None:
    for name in ("before", fault, "next"):
        copy_classifier(own_store, name)
    (copy_classifier(own_store, "zz") / HEAD_FILE).write_bytes(b"x")
    first, second = reasons(own_store, loaded)
    assert re.search(f"Cannot load .*{fault}.*: {cause}", first)
    assert "zz@1" in second


def test_artifact_that_waits_is_given_up(
    faulty: None, own_store: Store, loaded: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "_HEAD_TIMEOUT_S", 3)
    copy_classifier(own_store, "waits")
    (line,) = reasons(own_store, loaded)
    assert "Cannot load waits@1" in line
    assert "takes too long" in line


def test_many_artifacts_that_crash_do_not_delay_a_reload_forever(
    faulty: None, own_store: Store, loaded: Catalog
) -> None:
    for number in range(12):
        copy_classifier(own_store, f"crashes{number}")
    *crashed, last = reasons(own_store, loaded)
    assert len(crashed) == proof._MAX_CRASHES
    assert last == "7 more artifacts were not loaded, because 5 others ended the proof."


def test_output_of_libraries_does_not_disturb_the_proof(faulty: None, own_store: Store, loaded: Catalog) -> None:
    copy_classifier(own_store, "prints")
    assert reasons(own_store, loaded) == []


def test_process_has_limits_and_sees_no_settings(
    faulty: None, own_store: Store, loaded: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APP_API_KEYS_FILE", "/keys")
    copy_classifier(own_store, "reports")
    (line,) = reasons(own_store, loaded)
    assert "'PATH'" in line
    assert "APP_" not in line
    match = re.search(r"\[(\d+), (\d+), (\d+)\] (\d+)", line)
    assert match
    cpu_s, data_bytes, core_bytes, niceness = map(int, match.groups())
    assert cpu_s <= 20
    assert 0.95 * 2**31 < data_bytes <= 2**31
    assert (core_bytes, niceness) == (0, min(os.nice(0) + 10, 19))


def test_no_process_is_left_behind(faulty: None, own_store: Store, loaded: Catalog) -> None:
    before = children()
    for name in ("crashes", "prints"):
        copy_classifier(own_store, name)
    reasons(own_store, loaded)
    assert children() == before


def test_process_ends_with_the_one_that_started_it(own_store: Store) -> None:
    """Also while it computes: nobody would read its answer."""
    command = [sys.executable, "-m", "tests.support.faulty_proof_worker"]
    folder = copy_classifier(own_store, "waits")
    key = key_of(own_store.classifier("waits").manifest)
    request = f'{{"folder": "{folder}", "key": "{key}", "features": 4, "selection": {{}}}}\n'
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(request)
        process.stdin.flush()
        assert process.stderr.readline() == "waiting\n"
        assert process.poll() is None
        process.stdin.close()
        wait_until(lambda: process.poll() is not None, 30)


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
