"""Suppression of TensorFlow's startup messages."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

#: Messages at import that TF_CPP_MIN_LOG_LEVEL does not suppress, such as the one about oneDNN on CPUs with AVX-512.
_STARTUP_MESSAGE = re.compile(
    rb"(WARNING: All log messages before absl::InitializeLog|I\d{4} |To enable the following instr)"
)
_STDERR = 2


@contextmanager
def hide_startup_messages() -> Iterator[None]:
    """Drop TensorFlow's startup messages; all other output to standard error is written when the block ends.

    TensorFlow writes to the file descriptor, bypassing Python, so the descriptor is redirected to a temporary file. Use
    this for interactive commands, not for the server: output before a fatal signal inside the block is lost. Without a
    standard error or a place for a temporary file, nothing is redirected.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with ExitStack() as stack:
        try:
            captured = stack.enter_context(tempfile.TemporaryFile())
            stderr = os.dup(_STDERR)
        except OSError:
            yield
            return
        stack.callback(os.close, stderr)
        _flush()
        os.dup2(captured.fileno(), _STDERR)
        try:
            yield
        finally:
            _flush()
            os.dup2(stderr, _STDERR)
            captured.seek(0)
            for line in captured:
                if not _STARTUP_MESSAGE.match(line):
                    os.write(_STDERR, line)


def _flush() -> None:
    if sys.stderr is not None:  # None if the process was started without standard error
        sys.stderr.flush()
