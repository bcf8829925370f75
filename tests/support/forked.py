"""Processes forked from one that has already imported the app: they start in 0.1 s instead of 2 s."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir
from multiprocessing.connection import Connection

from tests.support.paths import ROOT

_PRELOADED = [
    "app.server.server",
    "models.console.progress",
    "sklearn.linear_model",  # imported when a head is unpickled
    "tests.support.colour_store",
    "tests.support.decode_worker",
]
"""Modules that import nearly everything that a tiny server needs."""
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(_PRELOADED)


class ForkedModule:
    """`python -m MODULE` without the imports; offers the part of `subprocess.Popen` that tests need."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        reader, writer = _CONTEXT.Pipe(duplex=False)
        with chdir(ROOT):  # where the fork server finds the modules that it preloads
            multiprocessing.forkserver.ensure_running()
        self._process = _CONTEXT.Process(target=_run, args=(module, dict(environment), writer), daemon=True)
        self._process.start()
        writer.close()
        self.stderr = os.fdopen(os.dup(reader.fileno()), encoding="utf-8")
        reader.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Return the exit code; raises TimeoutExpired."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(module: str, environment: Mapping[str, str], stderr: Connection) -> None:
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = []
    runpy.run_module(module, run_name="__main__", alter_sys=True)
