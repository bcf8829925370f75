"""Selection of the engine and precision of an extractor."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from models.engines import selection
from models.engines.selection import EngineSelection
from models.errors import EngineError
from models.manifests import Agreement, ExtractorManifest
from tests.support.manifests import extractor_manifest

ALL = (
    "tensorflow:float32",
    "tensorflow:bfloat16",
    "tensorflow:float16",
    "openvino:int8",
    "openvino:bfloat16",
    "openvino:float32",
)


@pytest.fixture(autouse=True)
def modern_cpu_without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "has_bfloat16", lambda: True)
    monkeypatch.setattr(selection, "_has_gpu", lambda: False)


def installed(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> None:
    monkeypatch.setattr(selection, "find_spec", lambda name: name if name in libraries else None)


def validated_on(names: Collection[str] = ALL) -> ExtractorManifest:
    return extractor_manifest({}, engines=dict.fromkeys(names, Agreement(min_cosine=1, min_top1=1)))


def test_cpu_prefers_openvino_and_low_precision() -> None:
    assert EngineSelection().candidates(validated_on()) == [
        "openvino:int8",
        "openvino:bfloat16",
        "openvino:float32",
        "tensorflow:bfloat16",
        "tensorflow:float32",
    ]


def test_auto_skips_bfloat16_on_cpus_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "has_bfloat16", lambda: False)
    assert not [name for name in EngineSelection().candidates(validated_on()) if "bfloat16" in name]
    assert EngineSelection(precision="bfloat16").candidates(validated_on()) == [
        "openvino:bfloat16",
        "tensorflow:bfloat16",
    ]


def test_gpu_prefers_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_has_gpu", lambda: True)
    candidates = EngineSelection().candidates(validated_on())
    assert candidates[:3] == ["tensorflow:float16", "tensorflow:float32", "openvino:int8"]
    assert len(candidates) == len(set(candidates))


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        (EngineSelection("tensorflow"), ["tensorflow:bfloat16", "tensorflow:float32"]),
        (EngineSelection("openvino", "float32"), ["openvino:float32"]),
        (EngineSelection("auto", "float32"), ["openvino:float32", "tensorflow:float32"]),
    ],
)
def test_configured_engine_and_precision_are_used(configured: EngineSelection, expected: list[str]) -> None:
    assert configured.candidates(validated_on()) == expected


def test_only_validated_engines_are_candidates() -> None:
    assert EngineSelection().candidates(validated_on(["tensorflow:float32"])) == ["tensorflow:float32"]
    with pytest.raises(EngineError, match=r"supports tensorflow:float32, but openvino:int8 is configured.*APP_ENGINE"):
        EngineSelection("openvino", "int8").candidates(validated_on(["tensorflow:float32"]))


def test_only_installed_engines_are_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "openvino")
    assert EngineSelection().candidates(validated_on(["tensorflow:float32", "openvino:int8"])) == ["openvino:int8"]
    with pytest.raises(EngineError, match=r"tensorflow is not installed. Install requirements/cpu\.lock"):
        EngineSelection().candidates(validated_on(["tensorflow:float32"]))
