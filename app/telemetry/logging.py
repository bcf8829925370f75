"""Log configuration: readable lines on a terminal, one JSON object per line elsewhere.

Entries of the service are rendered and written directly: there is one for every request, and the standard library's
`logging` is slower. Entries of libraries come through `logging` and get the same format.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import sys
import warnings
from contextlib import suppress
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

from models.decoding.errors import UnsupportedImage
from models.decoding.image import sniff


def configure_logging(level: str, as_json: bool | None = None) -> None:
    """Send all log entries of this process to standard error.

    Args:
        level: minimum severity to log, in lower case.
        as_json: log JSON; None means only if standard error is not a terminal.
    """
    as_json = not sys.stderr.isatty() if as_json is None else as_json
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json),
    ]
    final = _json_processors() if as_json else _console_processors()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=functools.partial(_LineLogger, handler),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in ("uvicorn", "matplotlib"):  # uvicorn repeats our entries; Keras imports matplotlib
        logging.getLogger(name).setLevel(logging.WARNING)
    # Problems with an image are reported to the client and must not fill the log.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")


class _LineLogger:
    """Write rendered entries of one logger to the stream of a handler, under the lock of the handler."""

    def __init__(self, handler: logging.StreamHandler[TextIO], name: str) -> None:
        self.name, self._handler = name, handler

    def write(self, line: str) -> None:
        """Write one entry. A full disk, a broken pipe or a missing stream must not fail a request."""
        self._handler.acquire()
        try:
            with suppress(OSError, ValueError, AttributeError):
                self._handler.stream.write(f"{line}\n")
                self._handler.stream.flush()
        finally:
            self._handler.release()

    debug = info = warning = error = critical = write


def image_fields(image: bytes) -> dict[str, str | int]:
    """Return what may be logged about an image: size in bytes, format and SHA-256. Slow for large images."""
    try:
        kind = sniff(image)
    except UnsupportedImage:
        kind = "unknown"
    return {"bytes": len(image), "format": kind, "sha256": hashlib.sha256(image).hexdigest()}


def _json_processors() -> list[Processor]:
    # without the values of local variables, which may hold image data
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    encode = json.JSONEncoder(default=repr).encode  # reused: json.dumps would create an encoder for every line

    def render(entry: dict[str, Any], **_: Any) -> str:
        return encode(entry)

    return [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer(render)]


def _console_processors() -> list[Processor]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=0,
            sort_keys=False,
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]
