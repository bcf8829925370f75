"""Every example response names models, versions, classes and figures of the shipped store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from app.main import create_app
from app.settings import Settings
from models.artifacts.store import DEFAULT_STORE, Store
from models.manifests import CARD_FILE, ClassifierManifest
from tests.support.paths import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CLASSIFIERS = {artifact.manifest.name: artifact.manifest for artifact in Store(DEFAULT_STORE).classifiers()}
EXTRACTORS = {artifact.manifest.name: artifact.manifest for artifact in Store(DEFAULT_STORE).extractors()}
VERSIONS = {name: str(manifest.version) for name, manifest in EXTRACTORS.items()}
VERSIONS |= {name: str(manifest.version) for name, manifest in CLASSIFIERS.items()}
CARDS = {artifact.manifest.name: artifact.read(CARD_FILE).decode() for artifact in Store(DEFAULT_STORE).classifiers()}
NAME_KEYS = ("model", "model_name", "name", "extractor")
VERSION_KEYS = ("version", "model_version")
NAMED_VERSION = re.compile(
    rf"""({"|".join(VERSIONS)})(?:@|/|/versions/|(?:/\w+\?|[?&"'}}][^\n]{{0,40}}?)version["']?(?:=|:\ ))(\d+)"""
)
"""A model and its version: `NAME@1`, `NAME/1`, `NAME/versions/1`, `NAME&version=1`, `"NAME", version: 1`."""


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all JSON objects within a value."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(item)


def wrong_names(shown: dict[str, Any]) -> Iterator[str]:
    """Yield what an object of a response says that is not so for the shipped store."""
    name = next((shown[key] for key in NAME_KEYS if shown.get(key) in VERSIONS), None)
    if name is None:
        return
    for key in VERSION_KEYS:
        if key in shown and str(shown[key]) != VERSIONS[name]:
            yield f"{name} has version {VERSIONS[name]}, not {shown[key]}"
    if shown.get("versions", [VERSIONS[name]]) != [VERSIONS[name]]:
        yield f"{name} has version {VERSIONS[name]}, not {shown['versions']}"
    if "card" in shown and shown["card"].partition("\n")[0] != CARDS[name].partition("\n")[0]:
        yield f"the card of {name} has another title"
    if name in CLASSIFIERS:
        yield from wrong_classes(shown, CLASSIFIERS[name])


def wrong_classes(shown: dict[str, Any], manifest: ClassifierManifest) -> Iterator[str]:
    named = [(item["index"], item["label"]) for item in shown.get("predictions", [])]
    for output in shown.get("outputs", []):
        named += [(int(text.split(":")[1]), text.split(":")[2]) for text in output.get("data", []) if ":" in str(text)]
    for index, label in named:
        if manifest.classes[index] != label:
            yield f"class {index} of {manifest.name} is {manifest.classes[index]}, not {label}"
    if "classes" in shown and shown["classes"] != list(manifest.classes):
        yield f"{manifest.name} has other classes"
    for name, figures in shown.get("metrics", {}).items():
        yield from wrong_figures(figures, manifest.metrics[name].model_dump(mode="json"), name)


def wrong_figures(shown: Any, measured: Any, where: str) -> Iterator[str]:
    """Yield figures that are not those of the manifest, rounded to the decimals that are shown."""
    if isinstance(shown, dict):
        for key, value in shown.items():
            yield from wrong_figures(value, measured[key], f"{where}.{key}")
    elif isinstance(shown, list):
        for value, other in zip(shown, measured, strict=True):
            yield from wrong_figures(value, other, where)
    else:
        decimals = -int(Decimal(str(shown)).as_tuple().exponent)
        if round(measured, decimals) != shown:
            yield f"{where} is {measured}, not {shown}"


def openapi_examples(node: Any) -> Iterator[Any]:
    """Yield the examples within an OpenAPI document."""
    if isinstance(node, dict):
        if "example" in node:
            yield node["example"]
        for example in node.get("examples", {}).values() if isinstance(node.get("examples"), dict) else ():
            yield example.get("value")
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from openapi_examples(item)


def documented_responses() -> list[tuple[str, Any]]:
    return [
        (path.name, json.loads(block))
        for path in DOCUMENTS
        for block in re.findall(r"^```json\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    ]


def test_openapi_examples_are_of_the_shipped_models() -> None:
    examples = list(openapi_examples(create_app(Settings()).openapi()))
    assert len(examples) > 15
    wrong = {message for example in examples for shown in objects(example) for message in wrong_names(shown)}
    assert wrong == set()


def test_documented_responses_are_of_the_shipped_models() -> None:
    responses = documented_responses()
    assert len(responses) > 15
    wrong = {
        f"{name}: {message}" for name, value in responses for shown in objects(value) for message in wrong_names(shown)
    }
    assert wrong == set()


def test_documents_name_shipped_versions() -> None:
    named = {(path.name, *found) for path in DOCUMENTS for found in NAMED_VERSION.findall(path.read_text())}
    assert {path for path, _, _ in named} >= {"README.md", "api.md", "operations.md"}
    assert {found for found in named if VERSIONS[found[1]] != found[2]} == set()


@pytest.mark.parametrize(
    "text",
    [
        "model=cifar10@2",
        "models/cifar10/versions/2/infer",
        "predictions/cifar10/2",
        "?model=cifar10&version=2",
        "models/cifar10?version=2",
        'models/cifar10", params={"version": 2}',
        '{ model: "cifar10", version: 2, top_k: 3 }',
        '{"model": "cifar10", "version": 2}',
        "imagenet/load?version=2",
    ],
)
def test_versions_in_examples_are_found(text: str) -> None:
    assert [version for _, version in NAMED_VERSION.findall(text)] == ["2"]


@pytest.mark.parametrize(
    "shown",
    [
        {"model": "cifar10", "version": 2},
        {"model_name": "cifar10", "model_version": "1"},
        {"extractor": "inception_v3_96", "version": 1},
        {"name": "cifar10", "versions": ["1"]},
        {"model": "cifar10", "predictions": [{"label": "dog", "index": 3}]},
        {"model_name": "cifar10", "outputs": [{"data": ["0.5:3:dog"]}]},
        {"name": "cifar10", "classes": ["automobile"]},
        {"name": "cifar10", "metrics": {"test": {"accuracy": 0.888}}},
    ],
    ids=str,
)
def test_outdated_examples_are_found(shown: dict[str, Any]) -> None:
    assert list(wrong_names(shown))


def test_store_has_one_version_of_each_model() -> None:
    """Otherwise `VERSIONS` must become a list."""
    store = Store(DEFAULT_STORE)
    assert len(store.classifiers()) + len(store.extractors()) == len(VERSIONS)
