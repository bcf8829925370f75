"""Log entries, as a process writes them to standard error."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.paths import ROOT


def run_and_read_log(script: str) -> str:
    """Run a script in its own interpreter and return its standard error."""
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stderr


@pytest.mark.parametrize("as_json", [True, False])
def test_logged_traceback_does_not_show_the_values_of_variables(as_json: bool) -> None:
    log = run_and_read_log(f"""
import structlog
from app.telemetry.logging import configure_logging
configure_logging("info", {as_json})
def fail(image): raise ZeroDivisionError
try: fail("sec" + "ret")
except ZeroDivisionError as error: structlog.get_logger("app").error("request failed", exc_info=error)
""")
    assert "ZeroDivisionError" in log
    assert "secret" not in log


def test_entries_of_the_service_and_of_libraries_have_the_same_fields() -> None:
    log = run_and_read_log("""
import logging, structlog
from app.telemetry.logging import configure_logging
configure_logging("info", True)
with structlog.contextvars.bound_contextvars(request_id="one"):
    structlog.get_logger("app").warning("from the service")
    logging.getLogger("library").warning("from a library")
    structlog.get_logger("app").debug("below the level")
""")
    service, library = map(json.loads, log.splitlines())
    assert (service["logger"], service["event"]) == ("app", "from the service")
    assert (library["logger"], library["event"]) == ("library", "from a library")
    assert list(service) == list(library)


@pytest.mark.parametrize("target", ["/dev/full", "&-"])
def test_log_that_cannot_be_written_does_not_fail_the_program(target: str) -> None:
    script = """
import structlog
from app.telemetry.logging import configure_logging
configure_logging("info", True)
structlog.get_logger("app").info("request")
print("finished")
"""
    command = ["sh", "-c", f'exec "$0" -c "$1" 2>{target}', sys.executable, script]
    assert subprocess.check_output(command, cwd=ROOT, text=True) == "finished\n"
