"""Virtual environments made from lock files and kept in a cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from models.manifests import sha256

_COMPLETE = "whole"  # empty file in an environment whose installation finished


def environment_folder(lock: Path, cache: Path) -> Path:
    """Return the folder of a lock's environment; it depends on the lock's content."""
    return cache.resolve() / "environments" / f"{lock.parent.name}-{lock.stem}-{sha256(lock.read_bytes())[:16]}"


def environment_python(lock: Path, cache: Path) -> Path:
    """Return the Python interpreter of an environment with exactly the packages of a lock; install it if needed.

    Args:
        lock: pip requirements with hashes.
        cache: folder of all environments.

    Raises:
        subprocess.CalledProcessError: pip could not install the lock; pip has printed the reason.
    """
    folder = environment_folder(lock, cache)
    interpreter = folder / "bin" / "python"
    if (folder / _COMPLETE).exists():
        return interpreter
    sys.stderr.write(f"Installing {os.path.relpath(lock)}. This happens once and takes some minutes.\n")
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    options = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--require-hashes", "--no-deps"]
    subprocess.run([interpreter, "-m", "pip", "install", *options, "--requirement", lock], check=True)
    (folder / _COMPLETE).touch()
    return interpreter
