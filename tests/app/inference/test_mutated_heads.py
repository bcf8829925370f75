"""A running server whose store gets thousands of changed classifiers, with digests that match."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from models import heads
from models.artifacts.store import Store
from models.heads import Head
from models.manifests import GOLDEN_FILE, HEAD_FILE, ClassifierManifest
from tests.support.encoded_images import encoded
from tests.support.mutants import KINDS, write_mutant
from tests.support.polling import wait_until
from tests.support.processes import Answer, ServerProcess, post, server

IMAGE = encoded("red")
LOOKS, MUTANTS = 20, 100
LAST = "zz-last"
"""A classifier that is always rejected, and after all others."""
MAX_GROWTH_MB = 50


class WatchedStore:
    """A link that a server watches; each state of the store is a folder of its own, so that it changes at once."""

    def __init__(self, base: Store, folder: Path) -> None:
        self._base, self._folder, self._states = base, folder, 0
        self.path = folder / "watched"
        self.replace([])

    def replace(self, artifacts: list[Path]) -> None:
        """Make the base and these artifacts (NAME/VERSION) the content of the store."""
        self._states += 1
        state, link = self._folder / f"state-{self._states}", self._folder / "link"
        shutil.copytree(self._base.root, state, copy_function=os.link)
        for artifact in artifacts:
            target = state / "classifiers" / artifact.parent.name / artifact.name
            shutil.copytree(artifact, target, copy_function=os.link)
        link.symlink_to(state)
        link.replace(self.path)
        if self._states > 1:
            shutil.rmtree(self._folder / f"state-{self._states - 1}")


def mutants(store: Store, folder: Path, look: int) -> list[Path]:
    """Write the changed classifiers of a look, an equal number of each kind."""
    random = np.random.default_rng(look)
    sources = {kind: ["trees"] if kind in ("trees", "indices") else ["trees", "colours", "own_top"] for kind in KINDS}
    artifacts = {name: store.classifier(name) for name in ("trees", "colours", "own_top")}
    paths = []
    for number in range(MUTANTS):
        kind = list(KINDS)[number % len(KINDS)]
        paths.append(folder / f"mutant-{look}-{number}-{kind}" / "1")
        write_mutant(paths[-1], artifacts[str(random.choice(sources[kind]))], kind, random)
    return paths


def rejections(process: ServerProcess) -> Counter[str]:
    """Return how often each changed classifier was rejected, by its name."""
    reasons = [json.loads(line).get("why", "") for line in process.lines if "Model store reload failed" in line]
    return Counter(match[0] for reason in reasons if (match := re.search(rf"mutant-[\w-]+|{LAST}", reason)))


def wait_for_count(process: ServerProcess, pattern: str, count: int) -> None:
    """Wait until this number of lines of the log match."""
    wait_until(lambda: sum(re.search(pattern, line) is not None for line in process.lines) >= count, 120)


def memory_mb(process: ServerProcess) -> float:
    status = Path(f"/proc/{process.process.pid}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert match
    return int(match[1]) / 1000


@contextmanager
def constant_requests(address: str) -> Iterator[list[Answer]]:
    """Classify an image again and again; yields the list of the answers."""
    answers: list[Answer] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.05):
            answers.append(post(address, IMAGE))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join()


def classify(address: str, model: str) -> int:
    return post(address, IMAGE, f"?model={model}").status


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_server_serves_on_through_thousands_of_changed_heads(network_store: Store, tmp_path: Path) -> None:
    broken = tmp_path / LAST / "1"
    write_mutant(broken, network_store.classifier("trees"), "head", np.random.default_rng(0))
    (broken / HEAD_FILE).write_bytes(b"broken")
    store, taken_up = WatchedStore(network_store, tmp_path), 0
    with (
        server("app", APP_STORE=str(store.path), APP_STORE_POLL_S="0.2") as process,
        constant_requests(process.address()) as answers,
    ):
        address, memory = process.address(), 0.0
        for look in range(LOOKS):
            changed = mutants(network_store, tmp_path / f"look-{look}", look)
            store.replace([*changed, broken])
            wait_for_count(process, LAST, look + 1)
            rejected = rejections(process)
            intact = [path for path in changed if path.parent.name not in rejected]
            store.replace(intact)
            wait_for_count(process, "Reloaded the model store", look + 1)
            for path in intact:
                assert reproduces_golden_outputs(path), f"{path} was taken up"
                assert classify(address, path.parent.name) == 200
            taken_up += len(intact)
            memory = memory or memory_mb(process)
        assert {(answer.status, *predictions(answer)) for answer in answers} == {(200, *predictions(answers[0]))}
        assert memory_mb(process) < memory + MAX_GROWTH_MB
    counts = rejections(process)
    del counts[LAST]
    assert set(counts.values()) == {1}, "a classifier was rejected with more than one line"
    assert len(counts) + taken_up == LOOKS * MUTANTS
    assert len(counts) > LOOKS * MUTANTS / 2
    assert len(answers) > LOOKS


def predictions(answer: Answer) -> list[tuple[str, float]]:
    return [(prediction["label"], prediction["score"]) for prediction in answer.json["predictions"]]


def reproduces_golden_outputs(folder: Path) -> bool:
    """Replay the golden outputs of a head without the functions that a server uses for that."""
    manifest = ClassifierManifest.model_validate(
        {key: value for key, value in json.loads((folder / "manifest.json").read_bytes()).items() if key != "digest"}
    )
    head = Head(heads.load((folder / HEAD_FILE).read_bytes()), manifest.head.temperature)
    with np.load(io.BytesIO((folder / GOLDEN_FILE).read_bytes())) as golden:
        actual = head.predict_proba(golden["features"].astype(np.float32))
        return bool(np.abs(actual - golden["probabilities"]).max() <= 1e-5)
