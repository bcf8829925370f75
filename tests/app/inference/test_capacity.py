"""Admission: how many images of which models fit into the queue."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from app.batching.batcher import Batcher
from app.errors import BadParameter, DeadlineUnmeetable, Overloaded, TooManyImages
from app.inference.admission import AdmissionController
from models.artifacts.catalog import group_consumers
from models.classifier import Classifier
from tests.support.fake_classifiers import fake_classifier, fake_extractor

pytestmark = pytest.mark.anyio

CAPACITY = 4
NEAR, FAR = fake_extractor("near"), fake_extractor("far")
COLOURS, TONES = fake_classifier(NEAR), fake_classifier(NEAR, "tones", source=16)
OTHER = fake_classifier(FAR, "other")


def run(items: Sequence[Any]) -> Sequence[Any]:
    return items


class Queues:
    """A controller of two real batchers, and what is free in each."""

    def __init__(self) -> None:
        self.batchers: dict[Any, Batcher[Any, Any]] = {
            extractor: Batcher(run, name="test", max_batch=1, capacity=CAPACITY) for extractor in (NEAR, FAR)
        }
        self.controller = AdmissionController(self.batchers, CAPACITY)

    @property
    def free(self) -> tuple[int, int]:
        return self.batchers[NEAR].status().free, self.batchers[FAR].status().free

    def admit(self, images: int, *models: Classifier) -> Any:
        return self.controller.admit(group_consumers(models), images, None)

    def close(self) -> None:
        for batcher in self.batchers.values():
            batcher.close()


@pytest.fixture
async def queues() -> Any:
    queues = Queues()
    yield queues
    queues.close()


async def test_each_image_takes_a_row_for_each_extractor_and_spec(queues: Queues) -> None:
    with queues.admit(2, COLOURS, TONES, OTHER) as pending:
        assert queues.free == (0, 2)
        assert [len(rows) for rows in pending] == [3, 3]
        assert len({id(row) for rows in pending for row in rows}) == 6
        assert [row._queue for row in pending[0]] == [queues.batchers[each]._queue for each in (NEAR, NEAR, FAR)]
    assert queues.free == (CAPACITY, CAPACITY)


@pytest.mark.parametrize(("models", "limit"), [([COLOURS], 4), ([COLOURS, OTHER], 4), ([COLOURS, TONES, OTHER], 2)])
async def test_request_may_have_as_many_images_as_the_queue_holds(
    queues: Queues, models: list[Classifier], limit: int
) -> None:
    with queues.admit(limit, *models):
        pass
    with pytest.raises(TooManyImages, match=f"at most {limit} "), queues.admit(limit + 1, *models):
        pass
    assert queues.free == (CAPACITY, CAPACITY)


async def test_models_that_need_more_rows_than_there_are_is_an_error() -> None:
    queues = Queues()
    small = AdmissionController(queues.batchers, 1)
    with pytest.raises(BadParameter, match="queue capacity"):
        small.precheck(group_consumers([COLOURS, TONES]), None)
    queues.close()


async def test_request_that_finds_one_queue_full_holds_nothing(queues: Queues) -> None:
    with queues.batchers[FAR].reserve(CAPACITY):
        with pytest.raises(Overloaded), queues.admit(1, COLOURS, OTHER):
            pass
        assert queues.free == (CAPACITY, 0)
        with queues.admit(1, COLOURS):
            pass


async def test_precheck_rejects_as_one_image_would_be_and_notes_the_overload(queues: Queues) -> None:
    controller = queues.controller
    with queues.batchers[NEAR].reserve(CAPACITY - 1):
        controller.precheck(group_consumers([COLOURS]), None)
        assert not controller.is_shedding
        with pytest.raises(Overloaded):
            controller.precheck(group_consumers([COLOURS, TONES]), None)
        assert controller.is_shedding
        controller.precheck(group_consumers([OTHER]), None)
        assert not controller.is_shedding
    assert queues.free == (CAPACITY, CAPACITY)


async def test_load_is_shed_only_while_no_queue_has_room(queues: Queues) -> None:
    with queues.batchers[NEAR].reserve(CAPACITY):
        queues.controller.shed(None)
        with queues.batchers[FAR].reserve(CAPACITY), pytest.raises(Overloaded):
            queues.controller.shed(None)
    queues.batchers[FAR].close()
    with queues.batchers[NEAR].reserve(CAPACITY):
        queues.controller.shed(None)  # the route reports the shutdown


async def test_deadlines_reach_the_queue(queues: Queues, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.batching.scheduler.BatchScheduler.estimate_wait_s", lambda *_: 100.0)
    groups, controller = group_consumers([COLOURS]), queues.controller
    with queues.batchers[NEAR].reserve(1), queues.batchers[FAR].reserve(1):
        for left_s, is_met in ((200, True), (50, False)):
            deadline = time.monotonic() + left_s
            for check in (
                lambda deadline: controller.precheck(groups, deadline),
                lambda deadline: controller.shed(deadline),
                lambda deadline: controller.admit(groups, 1, deadline).__enter__(),
            ):
                if is_met:
                    check(deadline)
                else:
                    with pytest.raises(DeadlineUnmeetable):
                        check(deadline)
