from __future__ import annotations

import re

import pytest

from benchmarks.harness.process import ROOT
from benchmarks.harness.workload import Workload
from benchmarks.load.request import send_all
from benchmarks.options import DEFAULT_CACHE
from benchmarks.peers.contenders import PEERS, Peer, peer_contender
from benchmarks.peers.model import Setup
from models.artifacts.store import Store

PINNED = re.compile(r"^([a-z0-9.-]+)==(\S+)", re.MULTILINE)
#: Libraries that decide the speed of network, head and decoding.
SHARED = ("joblib", "keras", "numpy", "pillow", "scikit-learn", "tensorflow-cpu", "threadpoolctl", "xgboost-cpu")


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.folder)
def test_peer_runs_the_same_library_versions_as_our_server(peer: Peer) -> None:
    our_versions = dict(PINNED.findall((ROOT / "requirements" / "dev.lock").read_text()))
    lock = peer.lock.read_text()
    peer_versions = dict(PINNED.findall(lock))
    assert {name: peer_versions[name] for name in SHARED} == {name: our_versions[name] for name in SHARED}
    assert peer_versions.get("openvino") == our_versions.get("openvino", peer_versions.get("openvino"))
    assert not re.search(r"://|--(extra-)?index", lock)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("setup", Setup)
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.folder)
def test_peer_classifies_images(peer: Peer, setup: Setup, network_store: Store, tiny_workload: Workload) -> None:
    workload = Workload(
        tiny_workload.input_size, tiny_workload.image_size, network_store.root, "colours", tiny_workload.images
    )
    contender = peer_contender(peer, setup, DEFAULT_CACHE)
    with contender.start(workload) as url:
        _, bodies = send_all(url, [contender.request(data) for data in workload.images], in_flight=2)
    predictions = [contender.read(body) for body in bodies]
    assert {prediction.label for prediction in predictions} <= {"blue", "green", "red", "yellow"}
    assert {prediction.engine for prediction in predictions} == {"keras:float32"} or setup is Setup.OUR_ENGINE
