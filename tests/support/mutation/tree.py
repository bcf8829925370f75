"""The code that is mutated and tested: its digest, and copies of it."""

from __future__ import annotations

import compileall
import hashlib
import py_compile
import shutil
import subprocess
from pathlib import Path

from tests.support.paths import ROOT

PACKAGES = ("app", "models", "training")
"""Packages that are mutated."""
ACCEPTED = Path("tests/support/mutation/accepted.toml")
_OF_DIGEST = ("app", "models", "training", "benchmarks", "tests", "pyproject.toml", "requirements/dev.lock")


def files(*paths: str) -> list[Path]:
    """Return the files of the checkout below these paths that git does not ignore, relative to its root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return sorted({Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()})


def digest() -> str:
    """Return 16 hexadecimal digits that change with everything that decides whether a mutant survives.

    The reasons for survivors do not, so that they can be added after a run.
    """
    total = hashlib.sha256()
    for path in files(*_OF_DIGEST):
        if path != ACCEPTED:
            total.update(f"{path}\0".encode() + hashlib.sha256((ROOT / path).read_bytes()).digest())
    return total.hexdigest()[:16]


def copy(target: Path) -> None:
    """Copy the checkout, with compiled files that Python validates by the digest of their source.

    A mutant can have the time and the size of the original, which is all that other compiled files are validated by.
    """
    for path in files():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, target / path)
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    for package in (*PACKAGES, "benchmarks", "tests"):
        compileall.compile_dir(target / package, quiet=2, invalidation_mode=mode)
