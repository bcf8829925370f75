"""Errors of the web service, in addition to those in `models.errors` and `models.decoding.errors`.

The path of a request, and the errors of each step::

    request ──▶ body ──read──▶ upload ──reserve──▶ reservation ──decode──▶ pixels ──queue──▶ batch ──run──▶ response
            │              │               │                      │                 │              │
            Unauthorized   BodyTooLarge    Overloaded             models.decoding   Deadline-      BatchFailed
            Forbidden      Unsupported-    DeadlineUnmeetable     .errors           Exceeded
            UnknownHost      MediaType     BatcherClosed          Overloaded
            CrossOrigin    Overloaded
            RateLimited    TooManyImages
            Concurrency-   EmptyBody
              Limited      BodyTimeout
            NotReady       MalformedBody
            Draining       MissingField
            WorkerDied

Messages are sent to the client, except those of BadKeysFile and BatchFailed, which are logged. `app.api.problems` maps
errors to HTTP statuses, and the API document uses the first line of each docstring as the summary of the error.
"""

from __future__ import annotations

from collections.abc import Mapping


class ServiceError(Exception):
    """Base class of the errors of the web service. `code` is the stable error code that clients see."""

    code = "error"


class BadKeysFile(ServiceError):
    """The API keys file cannot be read or parsed. For operators; clients never see this error."""

    code = "bad_keys_file"


class Unauthorized(ServiceError):
    """This path requires a valid API key."""

    code = "unauthorized"
    headers: Mapping[str, str] = {"WWW-Authenticate": 'Bearer realm="classifier"'}


class Forbidden(ServiceError):
    """The API key does not permit this operation."""

    code = "forbidden"


class CrossOrigin(ServiceError):
    """A page of another origin sent the request, and CORS does not allow this origin."""

    code = "cross_origin"


class UnknownHost(ServiceError):
    """The Host header names a host that this server does not respond for."""

    code = "unknown_host"


class NotReady(ServiceError):
    """The models are still loading."""

    code = "not_ready"


class Draining(ServiceError):
    """The server is shutting down and accepts no new requests."""

    code = "draining"


class WorkerDied(ServiceError):
    """An inference or decode worker died; the server is shutting down."""

    code = "worker_died"


class Conflict(ServiceError):
    """The operation conflicts with the current state; nothing was changed."""

    code = "conflict"


class BodyTooLarge(ServiceError):
    """The request body is larger than the limit."""

    code = "body_too_large"


class BodyTimeout(ServiceError):
    """The request body did not arrive in time."""

    code = "slow_body"


class TooManyImages(ServiceError):
    """The request has more images than the limit."""

    code = "too_many_images"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A request may have at most {limit} images. Send these in several requests.")


class UnsupportedMediaType(ServiceError):
    """The Content-Type is not supported."""

    code = "unsupported_content_type"


class UnsupportedContentEncoding(UnsupportedMediaType):
    """The Content-Encoding of the body is not supported."""

    code = "unsupported_content_encoding"
    headers: Mapping[str, str] = {"Accept-Encoding": "gzip, deflate"}  # RFC 9110, 15.5.16

    def __init__(self, coding: str) -> None:
        super().__init__(
            f"The Content-Encoding {coding[:40]!r} is not supported. Send the body uncompressed, or with gzip or "
            "deflate."
        )


class EmptyBody(ServiceError):
    """The request body is empty."""

    code = "empty_body"


class MalformedBody(ServiceError):
    """The request body is malformed: its multipart form, JSON, base64, zip or tensor data cannot be parsed."""

    code = "broken_body"


class MissingField(ServiceError):
    """The request body contains no image."""

    code = "missing_field"


class BadParameter(ServiceError):
    """A parameter has an invalid value."""

    code = "bad_parameter"


class RetryLater(ServiceError):
    """The request is rejected for now; `retry_after_s` is the time in seconds after which it may be sent again."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(RetryLater):
    """The server is overloaded: its queue or memory is full, or too many large images wait for decoding."""

    code = "overloaded"


class ConcurrencyLimited(RetryLater):
    """The API key or client address has too many concurrent requests."""

    code = "too_many_at_once"


class RateLimited(RetryLater):
    """The API key or client address has exceeded its rate limit."""

    code = "rate_limited"

    def __init__(self, message: str, retry_after_s: float, headers: Mapping[str, str] | None = None) -> None:
        """Create the error; `headers` are the RateLimit headers of the response."""
        super().__init__(message, retry_after_s)
        self.headers = headers or {}


class DeadlineUnmeetable(RetryLater):
    """The estimated response time exceeds the deadline of the request."""

    code = "deadline_unmeetable"


class BatcherClosed(ServiceError):
    """The server is shutting down; the batcher is closed."""

    code = "draining"

    @classmethod
    def during_shutdown(cls) -> BatcherClosed:
        """Create the error of work that arrives, or is still unfinished, while the server shuts down."""
        return cls("The server is shutting down. Send the request again; another server may accept it.")


class DeadlineExceeded(ServiceError):
    """The deadline of the request passed before the response was ready."""

    code = "deadline_exceeded"


class BatchFailed(ServiceError):
    """Inference failed; the original exception is in `__cause__`."""

    code = "internal_error"
