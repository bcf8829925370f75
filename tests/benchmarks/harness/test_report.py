from __future__ import annotations

from benchmarks.harness.report import Variant, compare


def test_variants_alternate_and_the_ratio_is_the_median_of_the_rounds() -> None:
    order: list[str] = []

    def variant(name: str, rates: list[float]) -> Variant:
        remaining = iter(rates)

        def measure_rate() -> float:
            order.append(name)
            return next(remaining)

        return Variant(name, measure_rate)

    first, second = variant("a", [10, 30, 20]), variant("b", [10, 10, 40])
    ratio = compare("", first, second, rounds=3, min_ratio=1, facts={}).figures[-1]
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert ratio.values == [1, 3, 0.5]
    assert ratio.median == 1
