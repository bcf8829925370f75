"""Admit a request for all rows of its images, or reject it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from app.errors import BadParameter, BatcherClosed, RetryLater, TooManyImages
from app.inference.image_task import Batchers, Groups, PendingRow
from models.classifier import Extractor


class AdmissionController:
    """Reserves capacity in the batchers of one service. Used only on the event loop thread."""

    def __init__(self, batchers: Batchers, capacity: int) -> None:
        """Create a controller for batchers with a capacity of `capacity` items each."""
        self._batchers, self._capacity = batchers, capacity
        self.is_shedding = False
        """True from a rejection by `precheck` until it accepts a request again."""

    def precheck(self, groups: Groups[Any], deadline: float | None) -> None:
        """Raise what `admit` would raise for one image now, without reserving anything."""
        rows = self._rows(groups, 1)
        self.is_shedding = True
        for extractor, count in rows.items():
            self._batchers[extractor].check_room(count, deadline)
        self.is_shedding = False

    def shed(self, deadline: float | None) -> None:
        """Reject a request of any models if no batcher has room for a single item.

        Raises:
            Overloaded, DeadlineUnmeetable: of the batcher that has room first.
        """
        rejections = []
        for batcher in self._batchers.values():
            try:
                batcher.check_room(1, deadline)
            except BatcherClosed:
                return  # the route reports the shutdown
            except RetryLater as rejection:
                rejections.append(rejection)
            else:
                return
        raise min(rejections, key=lambda rejection: rejection.retry_after_s)

    @contextmanager
    def admit(
        self, groups: Groups[Any], images: int, deadline: float | None
    ) -> Iterator[Sequence[Sequence[PendingRow]]]:
        """Reserve a row for each image and group during the block.

        Yields:
            For each image its pending rows, one for each group in the order of the groups.

        Raises:
            BadParameter, TooManyImages: the request exceeds the whole capacity.
            Overloaded, DeadlineUnmeetable, BatcherClosed: the request is rejected for now.
        """
        with ExitStack() as reservations:
            unused = {
                extractor: iter(reservations.enter_context(self._batchers[extractor].reserve(count, deadline)).pending)
                for extractor, count in self._rows(groups, images).items()
            }
            yield [[next(unused[extractor]) for extractor, _ in groups] for _ in range(images)]

    def _rows(self, groups: Groups[Any], images: int) -> Mapping[Extractor, int]:
        """Return the number of rows for each extractor."""
        rows: dict[Extractor, int] = {}
        for extractor, _ in groups:
            rows[extractor] = rows.get(extractor, 0) + 1
        max_images = self._capacity // max(rows.values())
        if not max_images:
            raise BadParameter("model: these models need more queue capacity than there is. Name fewer in one request.")
        if images > max_images:
            raise TooManyImages(max_images)
        return {extractor: count * images for extractor, count in rows.items()}
