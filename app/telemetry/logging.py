"""The log: readable lines on a terminal, one JSON object a line elsewhere; ours and the libraries' alike.

There is a line for every request, so ours are rendered and written at once; the libraries' come through `logging`.
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

from models.decoding.image import sniff
from models.errors import UnsupportedImage


def configure(level: str, as_json: bool | None = None) -> None:
    """Send everything that is logged in this process to standard error.

    Args:
        level: of the least severe entry, in lower case.
        as_json: none means only where standard error is no terminal.
    """
    as_json = not sys.stderr.isatty() if as_json is None else as_json
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso" if as_json else "%H:%M:%S", utc=as_json),
    ]
    final = _as_json() if as_json else _for_people()
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
        logger_factory=functools.partial(_Lines, handler),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for chatty in ("uvicorn", "matplotlib"):  # the one says what we say, the other comes in with Keras
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # What is wrong with a picture is told to its sender, and fills no log.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")


class _Lines:
    """Writes rendered entries of one logger, between those of a handler."""

    def __init__(self, handler: logging.StreamHandler[TextIO], name: str) -> None:
        """Take the handler's stream, and its lock."""
        self.name, self._handler = name, handler

    def write(self, line: str) -> None:
        """Write one entry; a disk that is full, a pipe that is broken, or no stream at all must harm no request."""
        self._handler.acquire()
        try:
            with suppress(OSError, ValueError, AttributeError):
                self._handler.stream.write(f"{line}\n")
                self._handler.stream.flush()
        finally:
            self._handler.release()

    debug = info = warning = error = critical = write


def image_fields(image: bytes) -> dict[str, str | int]:
    """All that may be logged of a picture: size, format by its first bytes, digest. Takes time for large ones."""
    try:
        kind = sniff(image)
    except UnsupportedImage:
        kind = "unknown"
    return {"bytes": len(image), "format": kind, "sha256": hashlib.sha256(image).hexdigest()}


def _as_json() -> list[Processor]:
    # without the values of variables, which may be someone's picture
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    encode = json.JSONEncoder(default=repr).encode  # once: json.dumps would make one for every line

    def render(entry: dict[str, Any], **_: Any) -> str:
        return encode(entry)

    return [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer(render)]


def _for_people() -> list[Processor]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=0,
            sort_keys=False,
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]
