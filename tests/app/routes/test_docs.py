"""`GET /docs`."""

from __future__ import annotations

import httpx
import pytest

from tests.support.html import Elements

pytestmark = pytest.mark.anyio


async def test_docs_have_no_inline_script_or_style(client: httpx.AsyncClient) -> None:
    html = (await client.get("/docs")).text
    page = Elements(html)
    assert all("src" in script for script in page.all("script"))
    assert page.all("style") == []
    assert "cdn" not in html
