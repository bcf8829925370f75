"""Precision of a fit, and what is restored after it."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from training.runtime.tensorflow import fastest_precision

_OPTION = "auto_mixed_precision_onednn_bfloat16"


def test_precision_is_restored_after_a_fit(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags : avx512_bf16\n")
    with fastest_precision(cpuinfo) as precision:
        assert precision == "bfloat16"
        assert tf.config.optimizer.get_experimental_options()[_OPTION] is True
    assert tf.config.optimizer.get_experimental_options()[_OPTION] is False
