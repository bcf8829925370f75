"""Reading of request headers."""

from __future__ import annotations

import pytest

from app.asgi import qualities


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, {"": 1.0}),
        ("gzip", {"gzip": 1.0}),
        ("gzip, BR ; q=0.5", {"gzip": 1.0, "br": 0.5}),
        ("gzip;q=0, gzip", {"gzip": 0.0}),
        ("gzip;q=a", {"gzip": 0.0}),
    ],
)
def test_quality_of_a_choice_is_1_unless_it_is_given(header: str | None, expected: dict[str, float]) -> None:
    assert qualities(header) == expected
