from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import os
from models.quiet import without_greetings

try:
    with without_greetings():
        os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
        os.write(2, b"I0000 00:00:1795499933.399864    3711 port.cc:153] oneDNN custom operations are on.\\n")
        os.write(2, b"E0000 00:00:1795499933.399864    3711 cuda.cc:1] no GPU\\nsomething of another thread\\n")
        raise ValueError("broken")
except ValueError as error:
    os.write(2, f"then {error}\\n".encode())
"""


def test_greetings_are_dropped_and_nothing_else_not_even_when_loading_fails() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == [
        "E0000 00:00:1795499933.399864    3711 cuda.cc:1] no GPU",
        "something of another thread",
        "then broken",
    ]


def _load(setting: str = "", redirection: str = "") -> str:
    program = f"from models.console.tensorflow_logs import without_greetings\n{setting}\nwith without_greetings(): print('done')"
    command = ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_process_without_standard_error_loads_all_the_same() -> None:
    assert _load(redirection="2>&-") == "done\n"


def test_a_process_without_a_place_for_temporary_files_loads_all_the_same() -> None:
    assert _load(setting="import tempfile; tempfile.tempdir = '/nowhere'") == "done\n"
