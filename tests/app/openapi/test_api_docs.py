"""docs/api.md documents all endpoints, parameters, fields and errors of the API, and no others."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from app.api import problems
from app.errors import BatchFailed
from app.main import create_app
from app.server import error_response
from app.settings import Settings
from tests.support.documents import LANGUAGES, sections
from tests.support.paths import ROOT

API = ROOT / "docs" / "api.md"
SECTIONS = sections(API)
TEXT = API.read_text()
ENDPOINT = re.compile(r"`(GET|POST|PUT) (/[^`?]*)")
ERRORS = re.compile(r"^Errors.*: .*\d{3}.*$", re.MULTILINE)
ROW = re.compile(r"^\| (\d{3}) \| `(\w+)` \|", re.MULTILINE)
ANYWHERE = {"200", "500"}
"""Statuses that any endpoint may have."""

Operations = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return create_app(Settings(metrics_public=True)).openapi()


@pytest.fixture(scope="module")
def operations(openapi: dict[str, Any]) -> Operations:
    """(method, path) -> operation of the OpenAPI document."""
    paths = openapi["paths"]
    return {(method.upper(), path): operation for path in paths for method, operation in paths[path].items()}


def test_exactly_the_existing_endpoints_are_documented(operations: Operations) -> None:
    assert set(ENDPOINT.findall(TEXT)) == set(operations)


def test_every_parameter_and_header_is_documented(openapi: dict[str, Any], operations: Operations) -> None:
    shared = openapi["components"].get("parameters", {}).values()
    parameters = [*shared]
    for operation in operations.values():
        parameters += operation.get("parameters", [])
    names = {parameter["name"] for parameter in parameters if parameter.get("in") in ("query", "header")}
    assert names
    assert {name for name in names if f"`{name}`" not in TEXT} == set()


def test_every_response_field_is_documented(openapi: dict[str, Any]) -> None:
    schemas = openapi["components"]["schemas"]
    fields = {field for schema in schemas.values() for field in schema.get("properties", {})}
    assert fields
    assert {field for field in fields if f"`{field}`" not in TEXT and f'"{field}"' not in TEXT} == set()


def test_errors_of_every_endpoint_are_listed_in_its_section(operations: Operations) -> None:
    documented: set[tuple[str, str]] = set()
    for section in SECTIONS:
        if errors := ERRORS.search(section.text):
            endpoints = set(ENDPOINT.findall(section.text))
            documented |= endpoints
            statuses = {status for endpoint in endpoints for status in operations[endpoint]["responses"]}
            assert set(re.findall(r"\d{3}", errors[0])) == statuses - ANYWHERE, section.title
    with_errors = {
        endpoint for endpoint, operation in operations.items() if not set(operation["responses"]) <= ANYWHERE
    }
    assert with_errors <= documented


def test_every_error_code_has_a_row() -> None:
    rows = [(int(status), code) for status, code in ROW.findall(TEXT)]
    codes = {(status, kind.code) for kind, status in problems.STATUS.items()}  # type: ignore[attr-defined]
    codes |= {(int(status), code) for status, (code, _) in error_response.DETAILS.items()}
    assert set(rows) == codes | {(404, "not_found"), (405, "method_not_allowed"), (500, BatchFailed.code)}
    assert len(rows) == len(set(rows))


def test_sections_with_examples_have_them_in_all_languages() -> None:
    languages_by_section = {
        section.title: [example.language for example in section.examples] for section in SECTIONS if section.examples
    }
    assert languages_by_section
    assert {title: languages for title, languages in languages_by_section.items() if languages != list(LANGUAGES)} == {}


def test_examples_name_versions_that_are_shipped() -> None:
    shipped = {path.name for path in (ROOT / "models" / "store" / "classifiers" / "cifar10").iterdir()}
    examples = "".join(example.code for section in SECTIONS for example in section.examples)
    named = set(re.findall(r"(?:cifar10/(?:versions/)?|cifar10\?version=|cifar10&version=|cifar10@)(\d+)", examples))
    assert named
    assert named <= shipped


@cache
def anchors(document: Path) -> set[str]:
    """The anchors that GitHub creates for the headings of a document."""
    return {re.sub(r"[^\w -]", "", section.title.lower()).replace(" ", "-") for section in sections(document)}


def test_links_point_to_existing_files_and_headings() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if not link.startswith("https:")]
    assert links
    for path, _, anchor in (link.partition("#") for link in links):
        target = (API.parent / path) if path else API
        assert target.is_file(), path
        assert not anchor or anchor in anchors(target), anchor
