from __future__ import annotations

from benchmarks.harness.images import generate_jpegs


def test_generated_images_are_distinct_and_deterministic() -> None:
    images = generate_jpegs(12, 48)
    assert len(set(images)) == 12
    assert generate_jpegs(12, 48) == images
