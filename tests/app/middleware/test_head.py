"""HEAD: the response to GET without its body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from app.middleware.head import HeadMiddleware

pytestmark = pytest.mark.anyio


async def respond_in_pieces(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond with the method of the request, in several messages."""

    async def pieces() -> AsyncIterator[str]:
        yield "the method is "
        yield Request(scope).method

    await StreamingResponse(pieces(), status_code=203, headers={"X-A": "b"})(scope, receive, send)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS"])
async def test_other_methods_reach_the_app_unchanged(method: str) -> None:
    transport = httpx.ASGITransport(HeadMiddleware(respond_in_pieces))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.request(method, "/")).text == f"the method is {method}"


async def test_response_to_head_is_that_to_get_with_an_empty_body() -> None:
    sent = list[Message]()

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return await asyncio.Future[Message]()  # the client stays connected

    scope: Scope = {"type": "http", "method": "HEAD", "headers": []}
    await HeadMiddleware(respond_in_pieces)(scope, receive, send)
    start, *bodies = sent
    assert (start["status"], dict(start["headers"])) == (203, {b"x-a": b"b"})
    assert [(message["body"], message.get("more_body", False)) for message in bodies] == [
        *[(b"", True)] * 2,
        (b"", False),
    ]
    assert scope["method"] == "HEAD", "the log has the method of the client"
