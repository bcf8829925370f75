"""The OpenAPI document is whole: clients are generated from it, and people read it at /docs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from app.api import problems
from app.errors import BatchFailed, Conflict, Forbidden
from app.main import create_app
from app.settings import Settings

DOCUMENT = create_app(Settings()).openapi()
OPERATIONS = {
    operation["operationId"]: (path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for operation in operations.values()
}
EVERY = pytest.mark.parametrize(("path", "operation"), OPERATIONS.values(), ids=OPERATIONS.keys())


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """A parameter or a header, itself or where it is referred to."""
    if "$ref" not in part:
        return part
    found: Any = DOCUMENT
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return dict(found)


def shown(media: dict[str, Any]) -> list[Any]:
    """The examples of a body or an answer."""
    return [each["value"] for each in media.get("examples", {}).values()] + (
        [media["example"]] if "example" in media else []
    )


def answers(operation: dict[str, Any]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    for status, response in operation["responses"].items():
        for kind, media in response["content"].items():
            yield int(status), kind, media


def check(value: Any, schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def test_operations_have_names_that_are_good_for_functions() -> None:
    assert {"classify", "classify_batch", "embed", "list_models", "show_model", "readyz", "infer"} <= OPERATIONS.keys()
    assert sum(map(len, DOCUMENT["paths"].values())) == len(OPERATIONS)
    assert all(name.isidentifier() and name.islower() and len(name) <= 25 for name in OPERATIONS)


def test_tags_are_described() -> None:
    used = {tag for _, operation in OPERATIONS.values() for tag in operation["tags"]}
    assert used == {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]}


@EVERY
def test_operations_and_their_parameters_are_described(path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    parameters = [resolved(each) for each in operation["parameters"]]
    assert "X-Request-ID" in [each["name"] for each in parameters]
    assert all(each["description"] for each in parameters)
    assert all("null" not in str(each["schema"]) for each in parameters), "no client can send a null"
    runs_models = "requestBody" in operation
    assert runs_models == ("X-Request-Timeout-Ms" in [each["name"] for each in parameters])


@EVERY
def test_answers_have_examples_that_fit_their_schemas(path: str, operation: dict[str, Any]) -> None:
    for _, kind, media in answers(operation):
        assert media["schema"]
        assert shown(media) or media["schema"].get("format") == "binary", f"{kind} without an example"
        for example in shown(media):
            check(example, media["schema"])


@EVERY
def test_errors_have_the_form_of_their_family(path: str, operation: dict[str, Any]) -> None:
    is_v2 = path.startswith("/v2")
    for status, kind, media in answers(operation):
        if status < 400:
            continue
        assert kind == ("application/json" if is_v2 else "application/problem+json")
        assert media["schema"]["$ref"].endswith("/V2Error" if is_v2 else "/Problem")
        if not is_v2:
            assert {example["status"] for example in shown(media)} == {status}


@EVERY
def test_headers_of_answers_are_documented(path: str, operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        headers = {name: resolved(header) for name, header in response["headers"].items()}
        assert headers["X-Request-ID"]["required"]
        assert ("Retry-After" in headers) == (status in ("429", "503"))
    timed = {"classify", "embed"}
    assert ("Server-Timing" in operation["responses"]["200"]["headers"]) == (operation["operationId"] in timed)


def test_every_error_of_the_table_is_an_example_somewhere() -> None:
    documented = {
        example["code"]
        for path, operation in OPERATIONS.values()
        for status, _, media in answers(operation)
        if status >= 400 and not path.startswith("/v2")
        for example in shown(media)
    }
    told = {kind.code for kind in (*problems.STATUS, BatchFailed)}  # type: ignore[attr-defined]
    assert documented == told - {Forbidden.code, Conflict.code}  # of addresses for operators: docs/operations.md


def test_bodies_have_every_form_that_is_read() -> None:
    def forms(name: str) -> set[str]:
        return set(OPERATIONS[name][1]["requestBody"]["content"])

    image = {"multipart/form-data", "image/*", "application/octet-stream", "application/json"}
    for name in ("classify", "embed", "predict", "predict_put", "predict_version", "predict_version_put"):
        assert forms(name) == image
    assert forms("classify_batch") == {"multipart/form-data", "application/zip"}
    for name in ("infer", "infer_version"):
        assert forms(name) == {"application/json", "application/octet-stream"}


@EVERY
def test_examples_of_bodies_fit_their_schemas(path: str, operation: dict[str, Any]) -> None:
    for kind, media in operation.get("requestBody", {}).get("content", {}).items():
        assert shown(media) or kind != "application/json"
        for example in shown(media):
            check(example, media["schema"])


def references(part: Any) -> set[str]:
    """Every $ref within."""
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(references(value) for value in part.values()))
    return set().union(*(references(value) for value in part)) if isinstance(part, list) else set()


def test_components_are_what_is_referred_to() -> None:
    known = {f"#/components/{kind}/{name}" for kind, named in DOCUMENT["components"].items() for name in named}
    assert references(DOCUMENT) == known
