from __future__ import annotations

import pytest

from benchmarks.endurance.leak_check import ResourceUsage


@pytest.mark.parametrize(
    ("after", "is_back"),
    [
        (ResourceUsage(0, 0, 9, 5, 900), True),
        (ResourceUsage(1, 0, 10, 5, 100), False),
        (ResourceUsage(0, 1, 10, 5, 100), False),
        (ResourceUsage(0, 0, 11, 5, 100), False),
        (ResourceUsage(0, 0, 10, 6, 100), False),
    ],
)
def test_usage_is_compared_except_for_memory(after: ResourceUsage, is_back: bool) -> None:
    assert after.is_back_to(ResourceUsage(3, 3, 10, 5, 100)) == is_back
