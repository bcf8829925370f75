"""Model cards as web pages."""

from __future__ import annotations

import httpx
import pytest

from app.page import markdown

pytestmark = pytest.mark.anyio


async def test_card_is_rendered_as_a_page(client: httpx.AsyncClient) -> None:
    response = await client.get("/cards/tones/1")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert "<h1>tones</h1>" in response.text
    assert "<p>Names colours.</p>" in response.text


@pytest.mark.parametrize(("path", "status"), [("none/1", 404), ("tones/9", 404), ("tones/x", 422), ("tones/0", 422)])
async def test_missing_card_is_a_problem(client: httpx.AsyncClient, path: str, status: int) -> None:
    response = await client.get(f"/cards/{path}")
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"


def test_html_in_a_card_is_escaped() -> None:
    html = markdown("# <script>alert(1)</script>\n\n[x](javascript:alert(1)) <img src=x onerror=alert(1)>")
    assert "<script" not in html
    assert "<img" not in html
    assert 'href="javascript' not in html


def test_markdown_tables_are_rendered() -> None:
    assert "<td>71.4 %</td>" in markdown("| class | accuracy |\n|---|---|\n| cat | 71.4 % |")
