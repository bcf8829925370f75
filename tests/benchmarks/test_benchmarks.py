"""The benchmarks run, on as little as they can; how fast anything is, no test says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.harness import images as pictures
from benchmarks.harness.report import Way, compare
from benchmarks.load.request import Request, send
from benchmarks.serving import batch_request as batch
from models.artifacts.store import Store
from models.offline.predict import BATCH
from tests.support import tiny_app as tiny
from tests.support.processes import server


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = tmp_path_factory.mktemp("store")
    tiny.build(store)
    with server("tests.support.tiny_server", APP_STORE=str(store)) as started:
        yield started.address()


def invoke(json_file: Path, *arguments: object) -> dict[str, list[float]]:
    """What was measured by name, in each round."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--side", "48", "--json", str(json_file)])
    assert result.exit_code == 0, result.output
    found = json.loads(json_file.read_text())
    assert f"{found['figures'][-1]['median']:.4g}" in result.output
    assert all(name in result.output for name in ("processor", "cores", "libraries"))
    return {figure["name"]: figure["values"] for figure in found["figures"]}


def test_batches_are_measured_beside_single_requests(url: str, tmp_path: Path) -> None:
    found = invoke(tmp_path / "found.json", "batch", "--url", url, "--requests", 2, "--rounds", 3)
    assert [len(values) for values in found.values()] == [3, 3, 3]
    assert all(value > 0 for values in found.values() for value in values)


def test_pictures_that_are_refused_are_no_throughput(url: str) -> None:
    with pytest.raises(RuntimeError, match="unsupported_format"):
        batch.measure(url, [b"no picture"] * batch.IMAGES, rounds=1, requests=1)


def test_answers_come_in_the_order_of_the_requests(url: str) -> None:
    sent = [Request(f"/v1/classify?top_k={1 + number % 6}", data, "image/jpeg") for number, data in enumerate(PICTURES)]
    _, answers = send(url, sent, in_flight=5)
    assert [len(json.loads(answer)["predictions"]) for answer in answers] == [1 + number % 6 for number in range(12)]


def test_a_folder_is_measured_beside_the_bare_network(network_store: Store, tmp_path: Path) -> None:
    options = ["--count", BATCH + 16, "--rounds", 1, "--model", "colours", "--store", network_store.root]
    found = invoke(tmp_path / "found.json", "folder", *options)
    ours, bare, ratio = found
    assert (ours, ratio) == ("models classify --model colours@2", "ratio")
    assert " alone, " in bare
    assert found[ratio] == [found[ours][0] / found[bare][0]]


def test_a_folder_that_is_over_with_the_first_batch_is_wrong_usage() -> None:
    assert CliRunner().invoke(app, ["folder", "--count", str(BATCH)]).exit_code == 2


PICTURES = pictures.jpegs(12, 48)


def test_pictures_are_all_different_and_the_same_each_time() -> None:
    assert len(set(PICTURES)) == 12
    assert pictures.jpegs(12, 48) == PICTURES


def test_each_way_is_as_often_first_and_the_ratio_is_the_median_of_the_rounds() -> None:
    order: list[str] = []

    def way(name: str, rates: list[float]) -> Way:
        left = iter(rates)

        def rate() -> float:
            order.append(name)
            return next(left)

        return Way(name, rate)

    found = compare("", way("a", [10, 30, 20]), way("b", [10, 10, 40]), rounds=3, target=1, facts={})
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found.figures[-1].values == [1, 3, 0.5]
    assert found.figures[-1].median == 1
