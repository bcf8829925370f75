"""Limits on what an archive of training data may unpack to, from environment variables."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

from training.errors import SettingError

GIGABYTES_VARIABLE = "TRAINING_MAX_UNPACKED_GB"
FILES_VARIABLE = "TRAINING_MAX_UNPACKED_FILES"
_DEFAULT_GIGABYTES = 20.0
_DEFAULT_FILES = 1_000_000


@dataclass(frozen=True)
class UnpackLimits:
    """Limits on the unpacked bytes of an archive, and on its files and folders."""

    max_bytes: int
    max_files: int


def read_unpack_limits(environment: Mapping[str, str] = os.environ) -> UnpackLimits:
    """Return the limits: `TRAINING_MAX_UNPACKED_GB` (10**9 bytes) and `TRAINING_MAX_UNPACKED_FILES`, or their defaults.

    Raises:
        SettingError: a variable is not a positive number.
    """
    gigabytes = _positive(environment, GIGABYTES_VARIABLE, _DEFAULT_GIGABYTES)
    return UnpackLimits(int(gigabytes * 1e9), int(_positive(environment, FILES_VARIABLE, _DEFAULT_FILES)))


def _positive(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise SettingError(f"{name}={text} is not a positive number. Set it to one, such as {default:g}, or unset it.")
    return value
