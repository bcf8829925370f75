"""`python -m app`: run the server, configured by APP_* environment variables (docs/operations.md)."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError

from app.environment import describe_invalid, describe_mistakes, describe_strangers
from app.hosts import ANY
from app.settings import Settings
from app.telemetry.logging import configure_logging

if TYPE_CHECKING:
    from app.inference.model_loading import Loader


def main(load_models: Loader | None = None) -> int:
    """Read the settings and serve; return 0 after a drain, 1 after a failure, 2 for an invalid setting.

    Args:
        load_models: loads the catalog; by default from the store.
    """
    if mistakes := describe_mistakes(os.environ):
        return _reject(mistakes)
    try:
        settings = Settings()
    except ValidationError as error:
        return _reject(describe_invalid(error))
    configure_logging(settings.log_level, settings.log_json)
    for line in (*describe_strangers(os.environ), *_advice(settings)):
        structlog.get_logger("app").warning(line)
    from app.inference.model_loading import load_catalog  # slow to import: an invalid setting is reported before
    from app.server.server import serve

    return serve(settings, load_models or load_catalog)


def exit_immediately(code: int) -> None:
    """Exit without interpreter shutdown, during which native threads may crash."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _reject(lines: Sequence[str]) -> int:
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    return 2


def _advice(settings: Settings) -> Iterator[str]:
    if not settings.allowed_hosts and ANY in settings.host_patterns:
        yield "Requests for any host are served. Set APP_ALLOWED_HOSTS to the names of this server."


def _usage(argument: str) -> int:
    sys.stderr.write("python -m app takes no options; it is configured by APP_* variables: docs/operations.md\n")
    return 0 if argument in ("-h", "--help") else 2


if __name__ == "__main__":
    exit_immediately(_usage(sys.argv[1]) if len(sys.argv) > 1 else main())
