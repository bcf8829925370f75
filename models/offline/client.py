"""What a running server makes of pictures on disk, with many requests in flight."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import httpx

from models.errors import ServerError
from models.offline.loader import Readable

Prediction = tuple[str, int, float]
"""Label, index, probability."""

KEY_VARIABLE = "CLASSIFIER_API_KEY"
"""The environment variable that has the key for a server that needs one: other users see what a command was given."""

_MAX_IN_FLIGHT = 16
_TIMEOUT_S = 60.0
_WORDS_SHOWN = 300

Key = TypeVar("Key", bound=Hashable)


class _Rejected(Exception):
    """The server does not take this one picture."""


def classify(
    url: str, images: Mapping[Key, Readable], model: str, top: int, failed: Callable[[Key, str], None]
) -> Iterator[tuple[Key, list[Prediction]]]:
    """Ask a server, picture after picture in their order, with the key of CLASSIFIER_API_KEY if there is one.

    Args:
        url: of the server.
        images: where each lies.
        model: `name` or `name@version`.
        top: classes to ask for.
        failed: is told of each picture that cannot be read here or is refused there, and why; it is left out.

    Raises:
        ServerError: the server cannot be reached, stays busy or refuses more for a minute, wants another key, fails,
            or is none of ours.
    """
    limits = httpx.Limits(max_connections=_MAX_IN_FLIGHT)
    query: dict[str, str | int] = {"model": model, "top_k": top}
    with (
        httpx.Client(base_url=url, params=query, headers=_key(), timeout=_TIMEOUT_S, limits=limits) as client,
        ThreadPoolExecutor(_MAX_IN_FLIGHT) as pool,
    ):
        todo = iter(images.items())
        window: deque[tuple[Key, Future[list[Prediction]]]] = deque()
        while True:
            for key, image in islice(todo, 2 * _MAX_IN_FLIGHT - len(window)):
                window.append((key, pool.submit(_classify_one, client, image)))
            if not window:
                return
            key, future = window.popleft()
            try:
                yield key, future.result()
            except _Rejected as error:
                failed(key, str(error))
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                pool.shutdown(wait=False, cancel_futures=True)
                reason = str(error) or type(error).__name__
                raise ServerError(f"No answer from {url} ({reason}). Is the server running? make serve") from error


def _key() -> dict[str, str]:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ServerError(f"{KEY_VARIABLE} holds what no key has. Set it to what python -m app.auth.keys printed.")
    return {"X-API-Key": key} if key else {}


def _classify_one(client: httpx.Client, image: Readable) -> list[Prediction]:
    """The answer to one picture; a server that is busy, or has a limit, is asked again when it says."""
    try:
        content = image.read_bytes()
    except OSError as error:
        raise _Rejected(error.strerror or str(error)) from error
    until = time.monotonic() + _TIMEOUT_S
    while True:
        reply = client.post("/v1/classify", content=content, headers={"Content-Type": "application/octet-stream"})
        if reply.is_success:
            return _predictions(reply)
        wait = reply.headers.get("Retry-After", "")
        if reply.status_code in _RETRYABLE and _is_short(wait) and time.monotonic() < until:
            time.sleep(int(wait))
        elif reply.status_code in _IMAGE_ERRORS:
            raise _Rejected(_detail(reply) or _error_text(reply))
        else:
            raise ServerError(f"{image}: {_error_text(reply)}{_ADVICE.get(reply.status_code, '')}")


_IMAGE_ERRORS = (400, 413, 415, 422)
_RETRYABLE = (429, 503)
_ADVICE = {401: f" Set {KEY_VARIABLE}."}


def _is_short(wait: str) -> bool:
    """Whether it is worth to wait so many seconds, and not the hours of some limits."""
    return wait.isascii() and wait.isdigit() and int(wait) <= _TIMEOUT_S


def _error_text(reply: httpx.Response) -> str:
    said = _detail(reply) or " ".join(reply.text.split())[:_WORDS_SHOWN]
    return f"the server answered {reply.status_code}: {said}"


def _detail(reply: httpx.Response) -> str:
    """What our own problems say; empty for anything else."""
    try:
        return str(reply.json()["detail"])
    except (ValueError, LookupError, TypeError):
        return ""


def _predictions(reply: httpx.Response) -> list[Prediction]:
    try:
        found: list[dict[str, Any]] = reply.json()["predictions"]
        return [(each["label"], int(each["index"]), float(each["score"])) for each in found]
    except (ValueError, LookupError, TypeError) as error:
        raise ServerError(f"{reply.url} does not answer as this service does. Is it the right address?") from error
