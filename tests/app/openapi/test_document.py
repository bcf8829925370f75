"""The OpenAPI document is complete: clients are generated from it, and `/docs` shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.api import problems
from app.errors import BatchFailed, Conflict, CrossOrigin, Forbidden, UnknownHost
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
    """Return a parameter or header, following its reference."""
    if "$ref" not in part:
        return part
    component: Any = DOCUMENT
    for name in part["$ref"].removeprefix("#/").split("/"):
        component = component[name]
    return dict(component)


def examples_of(media: dict[str, Any]) -> list[Any]:
    """Return the examples of a request body or response."""
    return [example["value"] for example in media.get("examples", {}).values()] + (
        [media["example"]] if "example" in media else []
    )


def responses(operation: dict[str, Any]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    for status, response in operation["responses"].items():
        for kind, media in response["content"].items():
            yield int(status), kind, media


def check(value: Any, schema: dict[str, Any]) -> None:
    import jsonschema  # takes seconds, which the processes that run other tests are spared

    jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def test_operation_ids_are_function_names() -> None:
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
    parameters = [resolved(parameter) for parameter in operation["parameters"]]
    assert "X-Request-ID" in [parameter["name"] for parameter in parameters]
    assert all(parameter["description"] for parameter in parameters)
    assert all("null" not in str(parameter["schema"]) for parameter in parameters), "no client can send null"
    runs_models = "requestBody" in operation
    assert runs_models == ("X-Request-Timeout-Ms" in [parameter["name"] for parameter in parameters])


@EVERY
def test_responses_have_examples_that_match_their_schemas(path: str, operation: dict[str, Any]) -> None:
    for _, kind, media in responses(operation):
        assert media["schema"]
        assert examples_of(media) or media["schema"].get("format") == "binary", f"{kind} has no example"
        for example in examples_of(media):
            check(example, media["schema"])


@EVERY
def test_errors_have_the_form_of_their_protocol(path: str, operation: dict[str, Any]) -> None:
    is_v2 = path.startswith("/v2")
    for status, kind, media in responses(operation):
        if status < 400:
            continue
        assert kind == ("application/json" if is_v2 else "application/problem+json")
        assert media["schema"]["$ref"].endswith("/V2Error" if is_v2 else "/Problem")
        if not is_v2:
            assert {example["status"] for example in examples_of(media)} == {status}


@EVERY
def test_response_headers_are_documented(path: str, operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        headers = {name: resolved(header) for name, header in response["headers"].items()}
        assert headers["X-Request-ID"]["required"]
        assert ("Retry-After" in headers) == (status in ("429", "503"))
    timed = {"classify", "embed"}
    assert ("Server-Timing" in operation["responses"]["200"]["headers"]) == (operation["operationId"] in timed)


def test_every_error_code_has_an_example() -> None:
    documented = {
        example["code"]
        for path, operation in OPERATIONS.values()
        for status, _, media in responses(operation)
        if status >= 400 and not path.startswith("/v2")
        for example in examples_of(media)
    }
    codes = {kind.code for kind in (*problems.STATUS, BatchFailed)}  # type: ignore[attr-defined]
    not_of_endpoints = {UnknownHost.code, CrossOrigin.code}  # of requests that reach no endpoint
    operators = {Forbidden.code, Conflict.code}  # of endpoints that are not in the document
    assert documented == codes - operators - not_of_endpoints


def test_request_bodies_list_every_supported_content_type() -> None:
    def content_types(name: str) -> set[str]:
        return set(OPERATIONS[name][1]["requestBody"]["content"])

    image = {"multipart/form-data", "image/*", "application/octet-stream", "application/json"}
    for name in ("classify", "embed", "predict", "predict_put", "predict_version", "predict_version_put"):
        assert content_types(name) == image
    assert content_types("classify_batch") == {"multipart/form-data", "application/zip"}
    for name in ("infer", "infer_version"):
        assert content_types(name) == {"application/json", "application/octet-stream"}


@EVERY
def test_request_examples_match_their_schemas(path: str, operation: dict[str, Any]) -> None:
    for kind, media in operation.get("requestBody", {}).get("content", {}).items():
        assert examples_of(media) or kind != "application/json"
        for example in examples_of(media):
            check(example, media["schema"])


def references(part: Any) -> set[str]:
    """Return all $ref values within a part of the document."""
    if isinstance(part, dict):
        direct = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return direct.union(*(references(value) for value in part.values()))
    return set().union(*(references(value) for value in part)) if isinstance(part, list) else set()


def test_components_are_exactly_the_referenced_ones() -> None:
    defined = {f"#/components/{kind}/{name}" for kind, named in DOCUMENT["components"].items() for name in named}
    assert references(DOCUMENT) == defined


def test_values_of_responses_have_their_bounds() -> None:
    at_least = {
        0: "BatchItem.index CoarserClass.score "
        "ExtractorStatus.waiting ExtractorStatus.single_image_ms ExtractorStatus.full_batch_ms "
        "ExtractorStatus.deadline_margin_ms Prediction.index Prediction.score Status.requests_in_flight "
        "Timing.decode Timing.queue Timing.inference Timing.total",
        1: "Classification.version Classification.batch_size Comparison.batch_size ExtractorStatus.capacity "
        "ExtractorStatus.full_batch ExtractorStatus.concurrency Features.version Features.batch_size "
        "ModelDetail.version ModelResult.version ModelSummary.version ModelVersion.version",
        400: "Problem.status",
    }
    assert _bounds("minimum") == {name: bound for bound, names in at_least.items() for name in names.split()}
    assert _bounds("maximum") == {"CoarserClass.score": 1, "Prediction.score": 1, "Problem.status": 599}
    assert _bounds("exclusiveMinimum") == {"ExtractorStatus.pace": 0}
    with_id = ("BatchResponse", "Classification", "Comparison", "Features", "Problem")
    lengths = {f"{schema}.request_id": (1, 128) for schema in with_id}
    found = _bounds("minLength"), _bounds("maxLength")
    assert {name: (found[0][name], found[1][name]) for name in found[0]} == lengths


def _bounds(keyword: str) -> dict[str, float]:
    """Return the bounds of all properties of the schemas by `Schema.property`."""
    return {
        f"{schema}.{name}": value[keyword]
        for schema, content in DOCUMENT["components"]["schemas"].items()
        for name, value in content.get("properties", {}).items()
        if keyword in value
    }
