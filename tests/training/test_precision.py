from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from training.precision import fastest_precision, has_bfloat16

_OPTION = "auto_mixed_precision_onednn_bfloat16"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16", True),
        ("flags\t\t: fpu amx_bf16 amx_tile", True),
        ("flags\t\t: fpu avx2 fma", False),
        ("vendor_id\t: avx512_bf16", False),
        ("", False),
    ],
)
def test_bfloat16_is_for_processors_that_have_it(flags: str, expected: bool, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{flags}\nbugs\t\t: none\n")
    assert has_bfloat16(cpuinfo) is expected


def test_a_system_that_does_not_tell_is_taken_for_one_without(tmp_path: Path) -> None:
    assert not has_bfloat16(tmp_path / "none")


def test_what_follows_a_fit_runs_in_the_precision_that_it_would_have_had(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags : avx512_bf16\n")
    with fastest_precision(cpuinfo) as precision:
        assert precision == "bfloat16"
        assert tf.config.optimizer.get_experimental_options()[_OPTION] is True
    assert tf.config.optimizer.get_experimental_options()[_OPTION] is False
