from __future__ import annotations

import socket
import sys

import pytest

from benchmarks.harness.process import free_port, run_server
from tests.support.polling import wait_until


def test_error_of_a_server_that_does_not_start_has_its_log() -> None:
    command = [sys.executable, "-c", "raise SystemExit('no model is there')"]
    with pytest.raises(RuntimeError, match="no model is there"), run_server(command, lambda: False, 1, {}):
        pass


def test_server_is_stopped_with_its_child_processes() -> None:
    port = free_port()
    child = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with run_server([sys.executable, "-c", parent], lambda: is_listening(port), port, {}) as server:
        assert server.url == f"http://127.0.0.1:{port}"
    wait_until(lambda: not is_listening(port))  # the system closes the socket of a killed process a little later


def is_listening(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
