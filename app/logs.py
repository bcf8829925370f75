"""The log: readable lines on a terminal, one JSON object a line elsewhere; ours and the libraries' alike."""

from __future__ import annotations

import hashlib
import logging
import sys
import warnings

import structlog
from structlog.typing import Processor

from models.errors import UnsupportedImage
from models.image import sniff


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
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for chatty in ("uvicorn", "matplotlib"):  # the one says what we say, the other comes in with Keras
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # What is wrong with a picture is told to its sender, and fills no log.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")


def picture(image: bytes) -> dict[str, str | int]:
    """All that may be logged of a picture: size, format by its first bytes, digest. Takes time for large ones."""
    try:
        kind = sniff(image)
    except UnsupportedImage:
        kind = "unknown"
    return {"bytes": len(image), "format": kind, "sha256": hashlib.sha256(image).hexdigest()}


def _as_json() -> list[Processor]:
    # without the values of variables, which may be someone's picture
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]


def _for_people() -> list[Processor]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=0,
            sort_keys=False,
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]
