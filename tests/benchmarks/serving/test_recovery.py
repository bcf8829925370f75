from __future__ import annotations

import pytest

from benchmarks.harness.images import generate_jpegs
from benchmarks.serving import recovery


def test_both_servers_are_measured_in_every_round(tiny_address: str) -> None:
    measurement = recovery.measure(tiny_address, tiny_address, generate_jpegs(4, 48), 2, slow_s=0.2, recovery_s=0.2)
    after, undisturbed, ratio = measurement.figures
    assert ratio.values == pytest.approx([a / b for a, b in zip(after.values, undisturbed.values, strict=True)])
    assert len(ratio.values) == 2
    assert min(undisturbed.values) > 0


@pytest.mark.slow
@pytest.mark.quiet
def test_forty_images_take_as_long_as_before_ten_seconds_after_a_slowdown() -> None:
    ratio = recovery.run(slow_s=3, recovery_s=10, rounds=5, side=256).figures[-1]
    assert ratio.name == "ratio"
    assert ratio.is_met, ratio.values
