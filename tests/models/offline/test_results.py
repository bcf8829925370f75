"""Results of all images in order, those that cannot be read included."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from models.offline.results import Answer, Result, in_order


@given(st.lists(st.booleans(), max_size=8))
def test_every_image_has_one_result_in_order(readable: list[bool]) -> None:
    """Failures become known while the others are classified, each before a later image is."""
    names = [f"{number}.jpg" for number in range(len(readable))]
    failures: dict[str, str] = {}

    def classify() -> Iterator[tuple[str, Answer]]:
        for name, is_readable in zip(names, readable, strict=True):
            if is_readable:
                yield name, Answer([("cat", 0, 1.0)])
            else:
                failures[name] = f"{name} is broken"

    results = list(in_order(names, classify(), failures))
    assert results == [
        Result(name, [("cat", 0, 1.0)]) if is_readable else Result(name, [], f"{name} is broken")
        for name, is_readable in zip(names, readable, strict=True)
    ]


def test_results_are_not_held_back() -> None:
    first = next(in_order(["a", "b"], iter([("a", Answer([])), ("b", Answer([]))]), {}))
    assert first == Result("a", [])


def test_result_has_the_coarser_classes_of_the_answer() -> None:
    (result,) = in_order(["a"], iter([("a", Answer([("pug", 0, 0.4)], [("dog", 0.9)]))]), {})
    assert (result.parents, result.lead) == ([("dog", 0.9)], ("dog", 0.9))
    assert Result("a", [("pug", 0, 0.4)]).lead == ("pug", 0.4)
