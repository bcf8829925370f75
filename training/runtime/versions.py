"""Versions of Python and of the libraries that an artifact was made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

#: Libraries that a pickled head or the numbers of a fit depend on.
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


def library_versions() -> dict[str, str]:
    """Return name -> version of Python and of each installed library."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
