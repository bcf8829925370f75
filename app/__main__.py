"""`python -m app`: run the server, configured by APP_* environment variables (docs/operations.md)."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError

from app.settings import Settings, describe_invalid, unknown_variables
from app.telemetry.logging import configure_logging

if TYPE_CHECKING:
    from app.inference.model_loading import Loader


def main(load_models: Loader | None = None) -> int:
    """Read the settings and serve; return 0 after a drain, 1 after a failure, 2 for an invalid setting.

    Args:
        load_models: loads the catalog; by default from the store.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        sys.stderr.write("".join(f"{line}\n" for line in describe_invalid(error)))
        return 2
    configure_logging(settings.log_level, settings.log_json)
    for line in unknown_variables():
        structlog.get_logger("app").warning(line)
    from app.inference.model_loading import load_catalog  # slow to import: an invalid setting is reported before
    from app.server.server import serve

    return serve(settings, load_models or load_catalog)


def exit_immediately(code: int) -> None:
    """Exit without interpreter shutdown, during which native threads may crash."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _usage(argument: str) -> int:
    sys.stderr.write("python -m app takes no options; it is configured by APP_* variables: docs/operations.md\n")
    return 0 if argument in ("-h", "--help") else 2


if __name__ == "__main__":
    exit_immediately(_usage(sys.argv[1]) if len(sys.argv) > 1 else main())
