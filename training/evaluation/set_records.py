"""What had been done with a labelled set before it is measured, from the records of all that used its images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from models.manifests import SetRecord
from training.data.split import Split
from training.evaluation.ledger import Ledger
from training.evaluation.seen import SeenImages
from training.partition.record import Use

#: Earlier measurements that are named.
_MAX_NAMED = 5


MeasuredModel = Literal["", "head", "network", "folds"]


@dataclass(frozen=True, eq=False)
class Histories:
    """Where it is recorded what images were used for.

    Attributes:
        network: images that the extractor was made with.
        head: images that the head was made with.
        ledger: earlier measurements; None if there is no store.
    """

    network: SeenImages = field(default_factory=SeenImages)
    head: SeenImages = field(default_factory=SeenImages)
    ledger: Ledger | None = None

    def of(self, split: Split, model: MeasuredModel = "") -> SetRecord:
        """Return the record of a set, before this measurement of it is added to the ledger.

        Args:
            split: the set.
            model: why the figures are not of the saved model; see `SetRecord.model`.
        """
        earlier = None if self.ledger is None else self.ledger.of(split.digest)
        return SetRecord(
            digest=split.digest,
            images=len(split),
            uses=(*self.network.uses(split), *self.head.uses(split)),
            # Before it was fitted again, or on other folds, it was fitted on no image that it was measured on.
            fitted_by_head=0 if model in ("head", "folds") else _fitted(self.head, split),
            fitted_by_network=_fitted(self.network, split),
            unrecorded=self.network.unrecorded,
            measured_before=None if earlier is None else len(earlier),
            measured_by=tuple(dict.fromkeys(each.by for each in reversed(earlier or ())))[:_MAX_NAMED],
            model=model,
        )


def _fitted(seen: SeenImages, split: Split) -> int | None:
    """Return the number of images that a model was fitted on; None if it has no record."""
    return seen.count(Use.FIT, split) if seen.is_recorded else None
