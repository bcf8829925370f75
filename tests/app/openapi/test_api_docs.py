"""docs/api.md leaves out nothing that the service has, and promises nothing that it has not."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from app.api import problems
from app.errors import BatchFailed
from app.main import create_app
from app.settings import Settings
from tests.support.documents import LANGUAGES, sections
from tests.support.paths import ROOT

API = ROOT / "docs" / "api.md"
SECTIONS = sections(API)
TEXT = API.read_text()
ADDRESS = re.compile(r"`(GET|POST|PUT) (/[^`?]*)")
ERRORS = re.compile(r"^Errors.*: .*\d{3}.*$", re.MULTILINE)
ROW = re.compile(r"^\| (\d{3}) \| `(\w+)` \|", re.MULTILINE)
ANYWHERE = {"200", "500"}
"""Statuses that any address may have."""

Operations = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return create_app(Settings(metrics_public=True)).openapi()


@pytest.fixture(scope="module")
def operations(openapi: dict[str, Any]) -> Operations:
    """(method, path) -> what OpenAPI says of it."""
    paths = openapi["paths"]
    return {(method.upper(), path): each for path in paths for method, each in paths[path].items()}


def test_every_address_is_told_and_no_other(operations: Operations) -> None:
    assert set(ADDRESS.findall(TEXT)) == set(operations)


def test_every_parameter_and_header_is_told(openapi: dict[str, Any], operations: Operations) -> None:
    shared = openapi["components"].get("parameters", {}).values()
    parameters = [*shared, *(each for operation in operations.values() for each in operation.get("parameters", []))]
    names = {each["name"] for each in parameters if each.get("in") in ("query", "header")}
    assert names
    assert {name for name in names if f"`{name}`" not in TEXT} == set()


def test_every_field_of_an_answer_is_told(openapi: dict[str, Any]) -> None:
    schemas = openapi["components"]["schemas"]
    fields = {field for schema in schemas.values() for field in schema.get("properties", {})}
    assert fields
    assert {field for field in fields if f"`{field}`" not in TEXT and f'"{field}"' not in TEXT} == set()


def test_the_errors_of_every_address_are_told_beside_it(operations: Operations) -> None:
    told: set[tuple[str, str]] = set()
    for section in SECTIONS:
        if errors := ERRORS.search(section.text):
            addresses = set(ADDRESS.findall(section.text))
            told |= addresses
            known = {status for address in addresses for status in operations[address]["responses"]}
            assert set(re.findall(r"\d{3}", errors[0])) == known - ANYWHERE, section.title
    assert {address for address, each in operations.items() if not set(each["responses"]) <= ANYWHERE} <= told


def test_every_error_has_its_row() -> None:
    rows = [(int(status), code) for status, code in ROW.findall(TEXT)]
    codes = {(status, kind.code) for kind, status in problems.STATUS.items()}  # type: ignore[attr-defined]
    assert set(rows) == codes | {(404, "not_found"), (405, "method_not_allowed"), (500, BatchFailed.code)}
    assert len(rows) == len(set(rows))


def test_what_is_shown_in_one_language_is_shown_in_all() -> None:
    shown = {section.title: [each.language for each in section.examples] for section in SECTIONS if section.examples}
    assert shown
    assert {title: languages for title, languages in shown.items() if languages != list(LANGUAGES)} == {}


@cache
def anchors(document: Path) -> set[str]:
    """The headings of a document as GitHub names them in links."""
    return {re.sub(r"[^\w -]", "", section.title.lower()).replace(" ", "-") for section in sections(document)}


def test_links_lead_to_files_and_headings() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if not link.startswith("https:")]
    assert links
    for path, _, anchor in (link.partition("#") for link in links):
        target = (API.parent / path) if path else API
        assert target.is_file(), path
        assert not anchor or anchor in anchors(target), anchor
