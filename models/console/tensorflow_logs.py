"""TensorFlow without its greetings."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

#: What it writes while it is loaded, whatever TF_CPP_MIN_LOG_LEVEL says: on processors with AVX-512, that oneDNN is on.
_GREETING = re.compile(rb"(WARNING: All log messages before absl::InitializeLog|I\d{4} |To enable the following instr)")
_STDERR = 2


@contextmanager
def hide_startup_messages() -> Iterator[None]:
    """For the first import of TensorFlow: its notes are dropped, all else reaches standard error when it is done.

    TensorFlow writes them past Python, to the file descriptor, so that is where they are caught. For commands that
    people read, not for the server: what a process says when it dies of a signal in here is lost. Where there is no
    standard error, or no place for a temporary file, nothing is caught.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with ExitStack() as stack:
        try:
            said = stack.enter_context(tempfile.TemporaryFile())
            screen = os.dup(_STDERR)
        except OSError:
            yield
            return
        stack.callback(os.close, screen)
        _flush()
        os.dup2(said.fileno(), _STDERR)
        try:
            yield
        finally:
            _flush()
            os.dup2(screen, _STDERR)
            said.seek(0)
            for line in said:
                if not _GREETING.match(line):
                    os.write(_STDERR, line)


def _flush() -> None:
    if sys.stderr is not None:  # Python has none where the process was started without
        sys.stderr.flush()
