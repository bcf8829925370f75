"""HTTP client that classifies many images with a running server, in concurrent requests."""

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
"""Environment variable of the API key; a command-line option would show the key to other users of the machine."""

_MAX_IN_FLIGHT = 16
_TIMEOUT_S = 60.0
_MAX_ERROR_CHARACTERS = 300
_IMAGE_ERRORS = (400, 413, 415, 422)
_RETRYABLE = (429, 503)
_ADVICE = {401: f" Set {KEY_VARIABLE}."}

Key = TypeVar("Key", bound=Hashable)


class _Rejected(Exception):
    """The image cannot be read or is rejected by the server; others may succeed."""


def classify(
    url: str, images: Mapping[Key, Readable], model: str, top: int, on_failure: Callable[[Key, str], None]
) -> Iterator[tuple[Key, list[Prediction]]]:
    """Classify images with a server and yield the results in order; uses the API key in CLASSIFIER_API_KEY, if set.

    Args:
        url: address of the server.
        images: the images by key.
        model: `name` or `name@version`.
        top: number of classes per image.
        on_failure: called with key and reason for each image that cannot be read or is rejected by the server; these
            images are skipped.

    Raises:
        ServerError: the server is unreachable, busy or rate limiting for more than a minute, rejects the API key,
            fails, or is not this service.
    """
    limits = httpx.Limits(max_connections=_MAX_IN_FLIGHT)
    query: dict[str, str | int] = {"model": model, "top_k": top}
    with (
        httpx.Client(base_url=url, params=query, headers=_headers(), timeout=_TIMEOUT_S, limits=limits) as client,
        ThreadPoolExecutor(_MAX_IN_FLIGHT) as pool,
    ):
        remaining = iter(images.items())
        window: deque[tuple[Key, Future[list[Prediction]]]] = deque()
        while True:
            for key, image in islice(remaining, 2 * _MAX_IN_FLIGHT - len(window)):
                window.append((key, pool.submit(_classify_one, client, image)))
            if not window:
                return
            key, future = window.popleft()
            try:
                yield key, future.result()
            except _Rejected as error:
                on_failure(key, str(error))
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                pool.shutdown(wait=False, cancel_futures=True)
                reason = str(error) or type(error).__name__
                raise ServerError(
                    f"No response from {url} ({reason}). Check the address, or start the server: make serve"
                ) from error


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ServerError(f"{KEY_VARIABLE} has invalid characters. Set it to a key printed by python -m app.keys.")
    return {"X-API-Key": key} if key else {}


def _classify_one(client: httpx.Client, image: Readable) -> list[Prediction]:
    """Classify an image; if the server is busy or limits the rate, retry when it says, for up to a minute."""
    try:
        content = image.read_bytes()
    except OSError as error:
        raise _Rejected(error.strerror or str(error)) from error
    retry_until = time.monotonic() + _TIMEOUT_S
    while True:
        response = client.post("/v1/classify", content=content, headers={"Content-Type": "application/octet-stream"})
        if response.is_success:
            return _predictions(response)
        retry_after = response.headers.get("Retry-After", "")
        is_retryable = response.status_code in _RETRYABLE and _is_short(retry_after)
        if is_retryable and time.monotonic() < retry_until:
            time.sleep(int(retry_after))
        elif response.status_code in _IMAGE_ERRORS:
            raise _Rejected(_detail(response) or _error_text(response))
        else:
            raise ServerError(f"{image}: {_error_text(response)}{_ADVICE.get(response.status_code, '')}")


def _is_short(retry_after: str) -> bool:
    """Return whether to wait for a retry: rate limits can last for hours."""
    return retry_after.isascii() and retry_after.isdigit() and int(retry_after) <= _TIMEOUT_S


def _error_text(response: httpx.Response) -> str:
    text = _detail(response) or " ".join(response.text.split())[:_MAX_ERROR_CHARACTERS]
    return f"the server answered {response.status_code}: {text}"


def _detail(response: httpx.Response) -> str:
    """Return the detail of a problem response, or an empty string for any other body."""
    try:
        return str(response.json()["detail"])
    except (ValueError, LookupError, TypeError):
        return ""


def _predictions(response: httpx.Response) -> list[Prediction]:
    try:
        predictions: list[dict[str, Any]] = response.json()["predictions"]
        return [(item["label"], int(item["index"]), float(item["score"])) for item in predictions]
    except (ValueError, LookupError, TypeError) as error:
        raise ServerError(f"{response.url} does not respond like this service. Check the address.") from error
