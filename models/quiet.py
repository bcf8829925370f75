"""TensorFlow without its greetings."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

#: What it writes while it is loaded, whatever TF_CPP_MIN_LOG_LEVEL says: on processors with AVX-512, that oneDNN is on.
_GREETING = re.compile(rb"(WARNING: All log messages before absl::InitializeLog|I\d{4} |To enable the following instr)")
_STDERR = 2


@contextmanager
def without_greetings() -> Iterator[None]:
    """For the first import of TensorFlow: its notes are dropped, all else reaches standard error when it is done.

    TensorFlow writes them past Python, to the file descriptor, so that is where they are caught.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    screen = os.dup(_STDERR)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), _STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(screen, _STDERR)
            os.close(screen)
            said.seek(0)
            for line in said:
                if not _GREETING.match(line):
                    os.write(_STDERR, line)
