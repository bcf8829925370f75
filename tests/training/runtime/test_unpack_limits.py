"""Limits on unpacked archives, from environment variables."""

from __future__ import annotations

import pytest

from training.errors import SettingError
from training.runtime.unpack_limits import UnpackLimits, read_unpack_limits


def test_defaults_are_20_gb_and_a_million_files() -> None:
    assert read_unpack_limits({}) == UnpackLimits(20_000_000_000, 1_000_000)
    assert read_unpack_limits({"TRAINING_MAX_UNPACKED_GB": "", "TRAINING_MAX_UNPACKED_FILES": " "}) == (
        UnpackLimits(20_000_000_000, 1_000_000)
    )


def test_variables_replace_the_defaults() -> None:
    environment = {"TRAINING_MAX_UNPACKED_GB": "0.5", "TRAINING_MAX_UNPACKED_FILES": "7"}
    assert read_unpack_limits(environment) == UnpackLimits(500_000_000, 7)


@pytest.mark.parametrize("name", ["TRAINING_MAX_UNPACKED_GB", "TRAINING_MAX_UNPACKED_FILES"])
@pytest.mark.parametrize("value", ["0", "-1", "many", "nan", "inf", "1e400"])
def test_value_that_is_not_positive_is_an_error_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"{name}={value} is not a positive number"):
        read_unpack_limits({name: value})
