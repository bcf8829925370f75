"""`python -m app`: the server, set by environment variables APP_* (docs/operations.md)."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError

from app.settings import Settings, explain, unknown_variables
from app.telemetry import logging as logs

if TYPE_CHECKING:
    from app.inference.model_loading import Loader


def main(load_models: Loader | None = None) -> int:
    """Read the settings and serve; 0 after a drain, 1 on a failure, 2 on a wrong setting.

    Args:
        load_models: where the models come from; by default the store.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        sys.stderr.write("".join(f"{line}\n" for line in explain(error)))
        return 2
    logs.configure(settings.log_level, settings.log_json)
    for line in unknown_variables():
        structlog.get_logger("app").warning(line)
    from app.inference.model_loading import load_catalog
    from app.server.server import serve  # heavy; a wrong setting is told before

    return serve(settings, load_models or load_catalog)


def end(code: int) -> None:
    """End at once: a library's thread that is still at work would crash in an interpreter's slow end."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _usage(argument: str) -> int:
    sys.stderr.write("python -m app takes no options; its settings are APP_* variables: docs/operations.md\n")
    return 0 if argument in ("-h", "--help") else 2


if __name__ == "__main__":
    end(_usage(sys.argv[1]) if len(sys.argv) > 1 else main())
