"""An environment of its own for a lock, made when it is first wanted and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from models.manifests import sha256

_WHOLE = "whole"  # the mark of an installation that came to its end


def folder(lock: Path, cache: Path) -> Path:
    """Where the environment of a lock lies; another content lies elsewhere."""
    return cache.resolve() / "environments" / f"{lock.parent.name}-{lock.stem}-{sha256(lock.read_bytes())[:16]}"


def python(lock: Path, cache: Path) -> Path:
    """The interpreter of an environment that holds exactly what a lock says.

    Args:
        lock: requirements with hashes.
        cache: folder of all environments; one is found again by its lock's content.

    Raises:
        subprocess.CalledProcessError: pip could not install the lock, and has said why.
    """
    made = folder(lock, cache)
    interpreter = made / "bin" / "python"
    if (made / _WHOLE).exists():
        return interpreter
    sys.stderr.write(f"Installing {os.path.relpath(lock)}: once, some minutes\n")
    shutil.rmtree(made, ignore_errors=True)
    venv.create(made, with_pip=True)
    options = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--require-hashes", "--no-deps"]
    subprocess.run([interpreter, "-m", "pip", "install", *options, "--requirement", lock], check=True)
    (made / _WHOLE).touch()
    return interpreter
