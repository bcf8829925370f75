"""Which engine and precision an extractor runs on."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from models.engines import selection as choice
from models.engines.selection import EngineSelection
from models.errors import EngineError
from models.manifests import Agreement, ExtractorManifest
from tests.support.tiny_models import extractor_manifest

ALL = (
    "tensorflow:float32",
    "tensorflow:bfloat16",
    "tensorflow:float16",
    "openvino:int8",
    "openvino:bfloat16",
    "openvino:float32",
)


@pytest.fixture(autouse=True)
def new_processor_without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "has_bfloat16", lambda: True)
    monkeypatch.setattr(choice, "_has_gpu", lambda: False)


def installed(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: name if name in libraries else None)


def proved_on(names: Collection[str] = ALL) -> ExtractorManifest:
    return extractor_manifest({}, engines=dict.fromkeys(names, Agreement(min_cosine=1, min_top1=1)))


def test_the_lowest_precision_on_openvino_comes_first_on_a_cpu() -> None:
    assert EngineSelection().candidates(proved_on()) == [
        "openvino:int8",
        "openvino:bfloat16",
        "openvino:float32",
        "tensorflow:bfloat16",
        "tensorflow:float32",
    ]


def test_bfloat16_is_not_taken_by_itself_where_the_processor_has_it_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "has_bfloat16", lambda: False)
    assert not [name for name in EngineSelection().candidates(proved_on()) if "bfloat16" in name]
    assert EngineSelection(precision="bfloat16").candidates(proved_on()) == ["openvino:bfloat16", "tensorflow:bfloat16"]


def test_a_gpu_is_tensorflows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_has_gpu", lambda: True)
    found = EngineSelection().candidates(proved_on())
    assert found[:3] == ["tensorflow:float16", "tensorflow:float32", "openvino:int8"]
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (EngineSelection("tensorflow"), ["tensorflow:bfloat16", "tensorflow:float32"]),
        (EngineSelection("openvino", "float32"), ["openvino:float32"]),
        (EngineSelection("auto", "float32"), ["openvino:float32", "tensorflow:float32"]),
    ],
)
def test_what_is_asked_for_is_taken(asked: EngineSelection, expected: list[str]) -> None:
    assert asked.candidates(proved_on()) == expected


def test_an_extractor_runs_only_on_what_it_was_proved_on() -> None:
    assert EngineSelection().candidates(proved_on(["tensorflow:float32"])) == ["tensorflow:float32"]
    with pytest.raises(EngineError, match=r"runs on tensorflow:float32, but openvino:int8 is asked for.*APP_ENGINE"):
        EngineSelection("openvino", "int8").candidates(proved_on(["tensorflow:float32"]))


def test_without_tensorflow_openvino_serves_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "openvino")
    assert EngineSelection().candidates(proved_on(["tensorflow:float32", "openvino:int8"])) == ["openvino:int8"]
    with pytest.raises(EngineError, match=r"tensorflow is not installed. Install requirements/cpu\.lock"):
        EngineSelection().candidates(proved_on(["tensorflow:float32"]))
