"""Peers are compared on equal terms, and what was measured is not measured again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.harness import environment
from benchmarks.harness import images as pictures
from benchmarks.harness.process import ROOT
from benchmarks.harness.workload import Picture, Workload
from benchmarks.load.request import send
from benchmarks.options import CACHE
from benchmarks.peers import compare, model
from benchmarks.peers.contenders import PEERS, Peer, contender
from benchmarks.peers.model import Form
from benchmarks.peers.results_log import Records
from models.artifacts.store import Store

PINNED = re.compile(r"^([a-z0-9.-]+)==(\S+)", re.MULTILINE)
#: What decides how fast network, head and decoding are.
SAME = ("joblib", "keras", "numpy", "pillow", "scikit-learn", "tensorflow-cpu", "threadpoolctl", "xgboost-cpu")


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.folder)
def test_a_peer_runs_the_same_libraries_as_we_do(peer: Peer) -> None:
    ours = dict(PINNED.findall((ROOT / "requirements" / "dev.lock").read_text()))
    lock = peer.lock.read_text()
    theirs = dict(PINNED.findall(lock))
    assert {name: theirs[name] for name in SAME} == {name: ours[name] for name in SAME}
    assert theirs.get("openvino") == ours.get("openvino", theirs.get("openvino"))
    assert not re.search(r"://|--(extra-)?index", lock)


@pytest.mark.parametrize("form", Form)
def test_both_forms_name_pictures_alike(form: Form, network_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in model.variables(network_store.root, "colours", form).items():
        monkeypatch.setenv(name, value)
    pixels = model.decoder()(pictures.jpegs(6, 48))
    answers = model.predictor()(pixels)
    monkeypatch.setenv(model.FORM, Form.OURS)
    assert [answer["label"] for answer in answers] == [answer["label"] for answer in model.predictor()(pixels)]
    assert {answer["engine"] for answer in answers} != {""}


def test_a_finished_measurement_is_not_made_again(tmp_path: Path) -> None:
    file, made = tmp_path / "found.jsonl", []

    def measure() -> dict[str, int]:
        made.append(1)
        return {"rate": len(made)}

    assert Records(file, {"seconds": 3}).get("peak", measure) == {"rate": 1}
    file.write_text(file.read_text() + '{"settings": {"seconds": 3}, "key": "ot')  # killed while it wrote
    again = Records(file, {"seconds": 3})
    assert again.get("peak", measure) == {"rate": 1}
    assert again.get("other", measure) == {"rate": 2}
    assert Records(file, {"seconds": 3}).get("other", measure) == {"rate": 2}
    assert Records(file, {"seconds": 4}).get("peak", measure) == {"rate": 3}


def test_ours_is_compared_with_the_fastest_peer_of_each_form(
    tiny_work: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of which everything is known already: nothing is started, and no picture is looked at."""
    monkeypatch.setattr(compare, "draw", lambda picture: [])  # 4000x3000 takes seconds
    rates = {"ours": 90, "litserve (a)": 20, "mosec (a)": 30, "litserve (b)": 60, "mosec (b)": 50}
    known: dict[str, object] = {"what our server answers": {"engine": "fixture:float32", "labels": {}}}
    for name, rate in rates.items():
        for number in (1, 2):
            load = {picture: {"rate": rate * number, "refused": 0} for picture in Picture}
            known[f"round {number}, peak of {name}"] = load
    for name, p99, best, at in (
        ("ours", 0.2, "mosec (a)", 31.5),
        ("mosec (a)", 0.4, "mosec (a)", 31.5),
        ("ours", 0.3, "litserve (b)", 63.0),
        ("litserve (b)", 0.3, "litserve (b)", 63.0),
    ):
        for number in (1, 2):
            key = f"round {number}, tail of {name} beside {best} at {at:.2f}/s"
            known[key] = {"rate": at, "p99": p99, "failed": 0}
    file = tmp_path / "found.jsonl"
    file.write_text("\n".join(json.dumps({"settings": {}, "key": key, "found": known[key]}) for key in known))

    run = compare.Run(tiny_work, 32, 3, 2, Records(file, {}), say=lambda line: None)
    measured = compare.measure(run, [peer for peer in PEERS if peer.folder in ("litserve", "mosec")], tmp_path)
    figures = {figure.name: figure for figure in measured.figures}
    lead = figures["ours over the best in form a (mosec (a)), 500x375"]
    assert (lead.values, lead.met) == ([3, 3], True)
    assert figures["ours over the best in form b (litserve (b)), 500x375"].values == [1.5, 1.5]
    assert figures["p99, ours over the best in form a"].met
    assert not figures["p99, ours over the best in form b"].met


def test_a_peer_that_is_none_is_wrong_usage() -> None:
    assert CliRunner().invoke(app, ["peers", "--only", "flask"]).exit_code in (1, 2)


def test_an_environment_belongs_to_the_content_of_its_lock(tmp_path: Path) -> None:
    lock = tmp_path / "empty.lock"
    lock.write_text("# nothing\n")
    before = environment.folder(lock, tmp_path)
    assert environment.folder(lock, tmp_path) == before
    lock.write_text("# something\n")
    assert environment.folder(lock, tmp_path) != before


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.folder)
def test_a_peer_answers_pictures(peer: Peer, form: Form, network_store: Store, tiny_work: Workload) -> None:
    work = Workload(tiny_work.network, tiny_work.picture, network_store.root, "colours", tiny_work.pictures)
    each = contender(peer, form, CACHE)
    with each.running(work) as url:
        _, bodies = send(url, [each.request(data) for data in work.pictures], in_flight=2)
    answers = [each.read(body) for body in bodies]
    assert {answer.label for answer in answers} <= {"blue", "green", "red", "yellow"}
    assert {answer.engine for answer in answers} == {"keras:float32"} or form is Form.OURS
