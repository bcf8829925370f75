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
from models.offline.proxies import environment_proxy
from models.offline.results import Answer

KEY_VARIABLE = "CLASSIFIER_API_KEY"
"""Environment variable of the API key; a command-line option would show the key to other users of the machine."""

_PATH = "/v1/classify"
_MAX_IN_FLIGHT = 16
_MAX_REDIRECTS = 5
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
) -> Iterator[tuple[Key, Answer]]:
    """Classify images with a server and yield the results in order; uses the API key in CLASSIFIER_API_KEY, if set.

    Args:
        url: address of the server. A proxy set by the environment is used, except for a server on this machine.
        images: the images by key.
        model: `name` or `name@version`.
        top: number of classes per image.
        on_failure: called with key and reason for each image that cannot be read or is rejected by the server; these
            images are skipped.

    Raises:
        ServerError: the server is unreachable, busy or rate limiting for more than a minute, rejects the API key,
            fails, redirects to another server, or is not this service; or the address is invalid.
    """
    with _Server(url, model, top) as server, ThreadPoolExecutor(_MAX_IN_FLIGHT) as pool:
        remaining = iter(images.items())
        window: deque[tuple[Key, Future[Answer]]] = deque()
        while True:
            for key, image in islice(remaining, 2 * _MAX_IN_FLIGHT - len(window)):
                window.append((key, pool.submit(server.classify, image)))
            if not window:
                return
            key, future = window.popleft()
            try:
                yield key, future.result()
            except _Rejected as error:
                on_failure(key, str(error))
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                pool.shutdown(wait=False, cancel_futures=True)
                raise server.unreachable(error) from error


class _Server:
    """A server and the classification that is requested from it; a context manager, to be used by several threads."""

    def __init__(self, url: str, model: str, top: int) -> None:
        address = _parse(url)
        self._url = url
        self._proxy = environment_proxy(address)
        self._query: dict[str, str | int] = {"model": _encodable(model), "top_k": top}
        transport = httpx.HTTPTransport(
            limits=httpx.Limits(max_connections=_MAX_IN_FLIGHT), proxy=self._proxy.url if self._proxy else None
        )
        self._client = httpx.Client(base_url=address, headers=_headers(), timeout=_TIMEOUT_S, transport=transport)

    def __enter__(self) -> _Server:
        self._client.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._client.__exit__(*exception)

    def classify(self, image: Readable) -> Answer:
        """Classify an image; if the server is busy or limits the rate, retry when it says, for up to a minute."""
        try:
            content = image.read_bytes()
        except OSError as error:
            raise _Rejected(error.strerror or str(error)) from error
        retry_until = time.monotonic() + _TIMEOUT_S
        while True:
            response = self._post(content)
            if response.is_success:
                return self._answer(response)
            retry_after = response.headers.get("Retry-After", "")
            is_retryable = response.status_code in _RETRYABLE and _is_short(retry_after)
            if is_retryable and time.monotonic() < retry_until:
                time.sleep(int(retry_after))
            elif response.status_code in _IMAGE_ERRORS:
                raise _Rejected(_detail(response) or self._error_text(response))
            else:
                advice = _ADVICE.get(response.status_code, "")
                raise ServerError(f"{image}: {self._error_text(response)}{advice}")

    def unreachable(self, error: Exception) -> ServerError:
        """Return the error for a request without a response."""
        reason = str(error) or type(error).__name__
        if self._proxy:
            return ServerError(f"No response from {self._url} through {self._proxy} ({reason}). {self._proxy.advice}")
        return _no_response(self._url, reason)

    def _post(self, content: bytes) -> httpx.Response:
        """Send an image, and again where the server redirects it within its origin."""
        address, query = httpx.URL(_PATH), self._query or None
        for _ in range(1 + _MAX_REDIRECTS):
            response = self._client.post(
                address, params=query, content=content, headers={"Content-Type": "application/octet-stream"}
            )
            if response.next_request is None:
                return response
            address, query = self._redirected(response), None
        raise ServerError(f"{self._url} redirects more than {_MAX_REDIRECTS} times. Check the address.")

    def _redirected(self, response: httpx.Response) -> httpx.URL:
        """Return where to send the same request; a 303 asks for another one, GET."""
        assert response.next_request is not None
        target = response.next_request.url
        if _origin(target) == _origin(response.url) and response.status_code != httpx.codes.SEE_OTHER:
            return target
        address = str(target).partition("?")[0]
        advice = f"Use --url {address.removesuffix(_PATH)}" if address.endswith(_PATH) else "Check the address."
        raise ServerError(f"{self._url} redirects to {address} ({response.status_code}). {advice}{self._note()}")

    def _error_text(self, response: httpx.Response) -> str:
        detail = _detail(response)
        text = detail or " ".join(response.text.split())[:_MAX_ERROR_CHARACTERS]
        return f"the server answered {response.status_code}: {text}{'' if detail else self._note()}"

    def _answer(self, response: httpx.Response) -> Answer:
        try:
            content: dict[str, Any] = response.json()
            predictions = [(item["label"], int(item["index"]), float(item["score"])) for item in content["predictions"]]
            parents = content.get("parents")
            if parents is not None:
                parents = [(item["label"], float(item["score"])) for item in parents]
            return Answer(predictions, parents)
        except (ValueError, LookupError, TypeError) as error:
            message = f"{response.url} does not respond like this service. Check the address."
            raise ServerError(f"{message}{self._note()}") from error

    def _note(self) -> str:
        """Name the proxy, which may have responded instead of the server."""
        return f" The request went through {self._proxy}. {self._proxy.advice}" if self._proxy else ""


def _parse(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        address = httpx.URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise _no_response(url, "it does not start with http:// or https://, or is no valid address")
    return address


def _no_response(url: str, reason: str) -> ServerError:
    return ServerError(f"No response from {url} ({reason}). Check the address, or start the server: make serve")


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _encodable(model: str) -> str:
    """Return a name that can be sent; no model has a name that cannot."""
    return model.encode(errors="backslashreplace").decode()


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ServerError(f"{KEY_VARIABLE} has invalid characters. Set it to a key printed by python -m app.keys.")
    return {"X-API-Key": key} if key else {}


def _is_short(retry_after: str) -> bool:
    """Return whether to wait for a retry: rate limits can last for hours."""
    return retry_after.isascii() and retry_after.isdigit() and int(retry_after) <= _TIMEOUT_S


def _detail(response: httpx.Response) -> str:
    """Return the detail of a problem response, or an empty string for any other body."""
    try:
        return str(response.json()["detail"])
    except (ValueError, LookupError, TypeError):
        return ""
