"""What is claimed of serving is measured on a real server process; how fast it is, no test says."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness import component_costs as costs
from benchmarks.harness import stores
from benchmarks.harness.component_costs import Cost, Costs
from benchmarks.harness.report import Measurement
from benchmarks.harness.workload import Workload
from benchmarks.offline import engine
from benchmarks.serving import cancellation as cancel
from benchmarks.serving import connections, latency, memory, overload, throughput
from benchmarks.serving import many_heads as heads
from benchmarks.serving import startup as start
from models.artifacts.store import Store
from models.cpu import available_cores
from training.recipes import schema as recipes

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (apt-get install wrk)")


def medians(measurement: Measurement) -> dict[str, float]:
    assert {"a picture", "processor", "cores", "load before", "engine"} <= set(measurement.facts)
    return {figure.name: figure.median for figure in measurement.figures}


@pytest.mark.slow
@needs_wrk
def test_connections_are_measured_one_level_after_another(tiny_work: Workload) -> None:
    found = medians(connections.measure(tiny_work, 1, 1, connections.up_to(2)))
    assert list(found) == ["1 connections", "2 connections", "least after the peak, share of the peak"]
    assert min(found.values()) > 0


def test_what_is_kept_is_the_least_after_the_peak() -> None:
    assert connections.kept([10, 20, 18, 19]) == 0.9
    assert connections.kept([10, 20]) == 1
    assert connections.up_to(512) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


@needs_wrk
def test_overload_is_answered_or_refused(tiny_work: Workload) -> None:
    found = medians(overload.measure(tiny_work, 2, 1, 10_000, 1))
    assert found["peak of a closed loop"] > 0
    assert found["2x refusals with Retry-After"] == 1


def test_cancelled_work_is_told_by_the_servers_own_metrics(
    tiny_work: Workload,
) -> None:
    found = medians(cancel.measure(tiny_work, 4, 1, 1))
    assert found["requests of those who stay that failed"] == 0
    assert found["answers to one who stays, share of when all stay"] > 0
    assert 0 <= found["computed for those who left, share of all"] < 1


@pytest.mark.slow
@needs_wrk
def test_memory_is_measured_before_and_after(tiny_work: Workload) -> None:
    found = medians(memory.measure(replace(tiny_work, pictures=tiny_work.pictures[:2]), 10, 2, spell_s=1))
    assert found["growth"] == pytest.approx(found["resident after"] - found["resident before"])


def test_a_start_is_timed_until_the_server_takes_work(tiny_work: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_LOAD_S", "0.5")
    found = medians(start.measure(tiny_work, None, tiny_work.store, 1))
    assert found["start to ready"] > 0.5
    assert found["resident when ready"] > 10


def test_the_bound_is_the_cores_over_what_an_image_costs() -> None:
    cost = Costs("engine", 8, Cost(1, 0.002), Cost(1, 0.007), Cost(1, 0.001), 0.1, 0.12)
    assert cost.bound == pytest.approx(available_cores() / 0.01)


def test_the_best_batch_is_the_one_with_the_least_time_an_image() -> None:
    pixels = np.zeros((2, 4, 4, 3), np.uint8)
    size, cost = costs.best_batch(lambda _: time.sleep(0.01), pixels, (1, 8, 2), seconds=0)
    assert size == 8
    assert cost.wall_s >= 0.01 / 8


def test_heads_on_one_extractor_all_differ() -> None:
    recipe = recipes.load(str(stores.RECIPE))
    variants = [stores.variant(recipe, number) for number in range(1, stores.HEADS)]
    assert ["speed", *(each.name for each in variants)] == stores.head_names()
    assert len({each.head for each in [recipe, *variants]}) == stores.HEADS


def test_a_store_that_could_not_be_made_is_made_anew(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        stores.made(tmp_path, "store", fails)
    made = stores.made(tmp_path, "store", lambda folder: (folder / "whole").touch())
    assert [file.name for file in made.iterdir()] == ["whole"]
    assert stores.made(tmp_path, "store", fails) == made


@pytest.mark.slow
@needs_wrk
def test_every_cost_is_measured_on_a_real_network(network_store: Store, tiny_work: Workload) -> None:
    work = replace(tiny_work, store=network_store.root, module="app")
    served = medians(throughput.measure(work, 2, 1, 1))
    assert served["served, share of the bound"] == pytest.approx(served["served"] / served["bound"])
    alone = medians(latency.measure(work, 1, 1))
    assert alone["p50 over that"] == pytest.approx(alone["p50"] / alone["decode + engine + head"])
    assert alone["p50 over the three in turn"] == pytest.approx(
        alone["p50"] / alone["the three in turn, image after image"]
    )
    ratio = engine.measure(work.store, work.model, 1).figures[-1]
    assert ratio.median > 0


@pytest.mark.slow
@needs_wrk
@pytest.mark.timeout(1800)
def test_twenty_heads_are_measured_beside_one(tiny_work: Workload, tmp_path: Path) -> None:
    work = replace(tiny_work, store=stores.speed_store(tmp_path), model="speed", module="app")
    found = medians(heads.measure(work, tmp_path, 2, 1, 1))
    assert found["its file"] > 0
