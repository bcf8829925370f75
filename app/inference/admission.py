"""Places before the networks, for the rows of requests: held for all of a request's rows, or refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from app.batching.request import Reservation
from app.errors import BadParameter, BatcherClosed, RetryLater, TooManyImages
from app.inference.image_task import Batchers, Groups
from models.classifier import Extractor


class AdmissionController:
    """Those of one service. Lives on its event loop."""

    def __init__(self, batchers: Batchers, most: int) -> None:
        """Each of the batchers has so many."""
        self._batchers, self._most = batchers, most
        self.is_shedding = False
        """Whether the last who asked before the body was read got none."""

    @contextmanager
    def admit(
        self, groups: Groups[Any], images: int, deadline: float | None
    ) -> Iterator[Mapping[Extractor, Reservation]]:
        """Places for so many images, each of which has a row for every group.

        Raises:
            BadParameter, TooManyImages: they would never find room.
            Overloaded, DeadlineUnmeetable, Closed: they find none now.
        """
        with ExitStack() as held:
            yield {
                extractor: held.enter_context(self._batchers[extractor].reserve(count, deadline))
                for extractor, count in self._rows(groups, images).items()
            }

    def precheck(self, groups: Groups[Any], deadline: float | None) -> None:
        """Refuse one image that would be refused now; raises as `held` does."""
        rows = self._rows(groups, 1)
        self.is_shedding = True
        for extractor, count in rows.items():
            with self._batchers[extractor].reserve(count, deadline):
                pass
        self.is_shedding = False

    def check_any(self, deadline: float | None) -> None:
        """Refuse one image of whatever models, where no network has a place; raises Overloaded, DeadlineUnmeetable."""
        refusals = []
        for batcher in self._batchers.values():
            try:
                with batcher.reserve(1, deadline):
                    return
            except BatcherClosed:
                return  # for whoever knows why
            except RetryLater as refusal:
                refusals.append(refusal)
        raise min(refusals, key=lambda refusal: refusal.retry_after_s)

    def _rows(self, groups: Groups[Any], images: int) -> Mapping[Extractor, int]:
        rows: dict[Extractor, int] = {}
        for extractor, _ in groups:
            rows[extractor] = rows.get(extractor, 0) + 1
        most = self._most // max(rows.values())
        if not most:
            raise BadParameter("model: these models need more places than the server has. Name fewer at a time.")
        if images > most:
            raise TooManyImages(most)
        return {extractor: count * images for extractor, count in rows.items()}
