"""Suppression of TensorFlow's startup messages."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import os
from models.console.tensorflow_logs import hide_startup_messages

try:
    with hide_startup_messages():
        os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
        os.write(2, b"I0000 00:00:1795499933.399864    3711 port.cc:153] oneDNN custom operations are on.\\n")
        os.write(2, b"E0000 00:00:1795499933.399864    3711 cuda.cc:1] no GPU\\na line from another thread\\n")
        raise ValueError("broken")
except ValueError as error:
    os.write(2, f"then {error}\\n".encode())
"""


def test_only_startup_messages_are_dropped_even_after_an_error() -> None:
    process = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert process.stderr.splitlines() == [
        "E0000 00:00:1795499933.399864    3711 cuda.cc:1] no GPU",
        "a line from another thread",
        "then broken",
    ]


def _run(setting: str = "", redirection: str = "") -> str:
    program = (
        f"from models.console.tensorflow_logs import hide_startup_messages\n{setting}\n"
        "with hide_startup_messages(): print('done')"
    )
    command = ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_works_without_standard_error() -> None:
    assert _run(redirection="2>&-") == "done\n"


def test_works_without_a_temporary_directory() -> None:
    assert _run(setting="import tempfile; tempfile.tempdir = '/nowhere'") == "done\n"
