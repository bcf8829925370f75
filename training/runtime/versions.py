"""Versions of the libraries that made an artifact; pickles and numbers depend on them."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_LIBRARIES = (
    "numpy",
    "pillow",
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "scikit-learn",
    "xgboost",
    "xgboost-cpu",
)


def versions() -> dict[str, str]:
    """Name -> version of Python and of each library that is installed."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
