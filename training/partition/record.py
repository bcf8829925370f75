"""The record of a run: which images every stage was given, and for what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from training.data.split import Split
from training.errors import ForbiddenUse


class Use(StrEnum):
    """What images are used for."""

    FIT = "fit"
    CHOOSE = "choose"
    CALIBRATE = "calibrate"
    MEASURE = "measure"


class Stage(StrEnum):
    """The part of a run that uses images."""

    NETWORK = "network"
    INT8 = "int8"
    ENGINES = "engines"
    TUNING = "tuning"
    SELECTION = "selection"
    HEAD = "head"
    COMPARISON = "comparison"
    REPORT = "report"


@dataclass(frozen=True, eq=False)
class HandOut:
    """A set of images that a stage was given.

    Attributes:
        set: name of the set.
        by_folds: each image was predicted by a fit on other folds, so it may be fitted on and measured.
    """

    stage: Stage
    use: Use
    set: str
    split: Split
    by_folds: bool = False


@dataclass
class Record:
    """The hand-outs of one model, in their order."""

    hand_outs: list[HandOut] = field(default_factory=list)

    def __iter__(self) -> Iterator[HandOut]:
        return iter(self.hand_outs)

    def add(self, hand_out: HandOut) -> None:
        """Add a hand-out.

        Raises:
            ForbiddenUse: images that the model was fitted on would choose, calibrate or measure it.
        """
        if hand_out.use != Use.FIT and not hand_out.by_folds:
            leaked = len(self.images(Use.FIT).intersection(hand_out.split.digests))
            if leaked:
                raise ForbiddenUse(
                    f"{hand_out.stage} may not {hand_out.use} with {hand_out.set!r}: {leaked} images were fitted on"
                )
        self.hand_outs.append(hand_out)

    def images(self, use: Use) -> frozenset[str]:
        """Return the digests of all images that were used in one way, except by folds."""
        return frozenset().union(*(each.split.digests for each in self if each.use == use and not each.by_folds))

    def looks(self) -> list[tuple[str, Split]]:
        """Return each set that was used in another way than to fit, with its name."""
        return list({each.split.digest: (each.set, each.split) for each in self if each.use != Use.FIT}.values())
