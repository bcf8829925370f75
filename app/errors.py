"""Everything that a request can meet besides what `models.errors` names.

The path of a request, and the error of each step::

    request ──▶ body ──read──▶ upload ──reserve──▶ place ──decode──▶ pixels ──queue──▶ batch ──run──▶ answer
            │              │               │               │                │              │
            Unauthorized   BodyTooLarge    Overloaded      models.errors    Deadline-      BatchFailed
            Forbidden      UnsupportedType Deadline-       .ImageError      Exceeded
            RateLimited    Overloaded                      Overloaded
            TooManyAtOnce
            NotReady
            Draining
            WorkerDied
                           TooManyImages   Unmeetable
                           EmptyBody
                           SlowBody
                           BrokenBody      Closed
                           MissingField

Messages are shown to the caller, except BatchFailed's, which is logged; `problems` has the statuses.
"""

from __future__ import annotations

from collections.abc import Mapping


class ServiceError(Exception):
    """Base of all errors of this package; ``code`` is a stable name for programs."""

    code = "error"


class BadKeysFile(ServiceError):
    """The file of API keys cannot be used; told to operators, never to callers."""

    code = "bad_keys_file"


class Unauthorized(ServiceError):
    """The address needs a key, and none that is known was sent."""

    code = "unauthorized"
    headers: Mapping[str, str] = {"WWW-Authenticate": 'Bearer realm="classifier"'}


class Forbidden(ServiceError):
    """The key is known, but not for this address."""

    code = "forbidden"


class NotReady(ServiceError):
    """The models are still being loaded."""

    code = "not_ready"


class Draining(ServiceError):
    """The server is shutting down and takes no new work."""

    code = "draining"


class WorkerDied(ServiceError):
    """A thread that runs a network, or its device, has died, or nothing decodes any more; the server ends."""

    code = "worker_died"


class Conflict(ServiceError):
    """What an operator asks for does not fit what there is, and nothing has changed."""

    code = "conflict"


class BodyTooLarge(ServiceError):
    """The body has more bytes than the limit."""

    code = "body_too_large"


class BodyTimeout(ServiceError):
    """The body does not arrive in the time that it may take."""

    code = "slow_body"


class TooManyImages(ServiceError):
    """One request has more images than the limit."""

    code = "too_many_images"

    def __init__(self, limit: int) -> None:
        """Name the limit."""
        super().__init__(f"The limit of images in one request is {limit}. Send these in several requests.")


class UnsupportedMediaType(ServiceError):
    """The Content-Type is none that carries an image here."""

    code = "unsupported_content_type"


class EmptyBody(ServiceError):
    """The body has no bytes."""

    code = "empty_body"


class MalformedBody(ServiceError):
    """The body is not what its Content-Type says: multipart, JSON or base64 that cannot be read."""

    code = "broken_body"


class MissingField(ServiceError):
    """The body is well formed and holds no image."""

    code = "missing_field"


class BadParameter(ServiceError):
    """A parameter has a value that it cannot have."""

    code = "bad_parameter"


class RetryLater(ServiceError):
    """Work that is not taken on now; `retry_after_s` is when it might be, in seconds from now."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        """Say why, and when to come back."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(RetryLater):
    """As much work is admitted as can be held, or a large picture would wait too long for its turn."""

    code = "overloaded"


class ConcurrencyLimited(RetryLater):
    """This key or address has as many requests under way as it may have."""

    code = "too_many_at_once"


class RateLimited(RetryLater):
    """This key or address has sent as many requests as it may for now."""

    code = "rate_limited"

    def __init__(self, message: str, retry_after_s: float, headers: Mapping[str, str] | None = None) -> None:
        """Say which limit, when it is over, and what is left, as headers."""
        super().__init__(message, retry_after_s)
        self.headers = headers or {}


class DeadlineUnmeetable(RetryLater):
    """By all that is known, the answer would come after the caller's deadline."""

    code = "deadline_unmeetable"


class BatcherClosed(ServiceError):
    """The batcher takes nothing more."""

    code = "draining"


class DeadlineExceeded(ServiceError):
    """The caller's deadline passed before there was an answer."""

    code = "deadline_exceeded"


class BatchFailed(ServiceError):
    """The network or a head raised; the cause is chained."""

    code = "internal_error"
