"""Log lines of requests."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("prefix", ["", "/vision"])
async def test_log_has_the_whole_path_of_a_file_without_the_prefix(
    make_app: Callable[..., FastAPI], prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    transport = httpx.ASGITransport(make_app(root_path=prefix), root_path=prefix)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for path in ("/static/page.css", "/static/swagger/swagger-ui.css", "/static/nosuch"):
            await client.get(f"{prefix}{path}")
            assert f"path={path} " in capsys.readouterr().out
