"""The split of a dataset: which of its images each stage of a run may use, and for what.

Images that look alike (`training.data.near_duplicates`) are never on two sides. An image is left out of a set if it
looks like an image of a set further to the right:

    fit  ◀──  holdout  ◀──  valid  ◀──  test, probes
    └─────── train ──────┘                              for the last fit of a head, after all measurements
    └────────────── all ──────────────┘                 for the last fit of a network, after all measurements

Every set that is handed out is recorded.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from models.arrays import Integers
from training.data.dataset import Dataset
from training.data.split import Split, holdout_indices
from training.errors import ForbiddenUse
from training.partition.record import HandOut, Record, Stage, Use

FIT, TRAIN, ALL, HOLDOUT, VALID, TEST = "fit", "train", "all", "holdout", "valid", "test"
_FITTED = frozenset({FIT, TRAIN, ALL})
#: A head is fitted on the training images only.
_STAGES_OF_ALL = frozenset({Stage.NETWORK, Stage.INT8})
#: Sets that each use may see. Probes are measured like the test set.
_CHOOSING = frozenset({HOLDOUT, VALID})

Groups = frozenset[Hashable]


@dataclass(frozen=True)
class Claims:
    """Groups of near duplicates in the measured sets of all datasets of a run."""

    tests: Groups = frozenset()
    valids: Groups = frozenset()
    holdouts: Groups = frozenset()

    def __or__(self, other: Claims) -> Claims:
        return Claims(self.tests | other.tests, self.valids | other.valids, self.holdouts | other.holdouts)


@dataclass(frozen=True, eq=False)
class Folds:
    """Images for cross-validation, and the number of the group of near duplicates of each, int64 [images]."""

    split: Split
    groups: Integers


@dataclass(frozen=True, eq=False)
class Partition:
    """Hands out the images of a dataset, and records to whom and for what.

    Attributes:
        dataset: stages read its description, such as class names; only this class reads its splits.
        group_of: digest -> group of near duplicates; an image that is missing is like no other one.
        probes: labelled images from other sources, by name; their labels are those of the dataset.
        test_once: only the report may measure the test set.
        others: claims of other datasets of the run.
        record: receives every hand-out.
    """

    dataset: Dataset
    group_of: Mapping[str, int] = field(default_factory=dict)
    probes: Mapping[str, Split] = field(default_factory=dict)
    test_once: bool = False
    others: Claims = Claims()
    record: Record = field(default_factory=Record)

    def recorded_by(self, record: Record) -> Partition:
        """Return the same split for another model, with its own record."""
        return replace(self, record=record)

    def hand_out(self, stage: Stage, name: str, *uses: Use, chosen: Integers | None = None) -> Split:
        """Return a set of images, or some of them, and record its use.

        Args:
            stage: that asks.
            name: of the set.
            uses: of the images.
            chosen: positions in the set; None: all of it.

        Raises:
            ForbiddenUse: the stage may not use this set in this way; this is a bug.
        """
        for use in uses:
            if not self.may(stage, name, use):
                raise ForbiddenUse(f"{stage} may not {use} with {name!r}")
        split = self._sets[name] if chosen is None else self._sets[name].take(chosen)
        for use in uses:
            self.record.add(HandOut(stage, use, name, split))
        return split

    def folds(self, stage: Stage, name: str, *uses: Use) -> Folds:
        """Return training images for cross-validation, and record their uses.

        Raises:
            ForbiddenUse: these are no training images; this is a bug.
        """
        if name not in (FIT, TRAIN):
            raise ForbiddenUse(f"{stage} may not cross-validate on {name!r}")
        split = self._sets[name]
        for use in uses:
            self.record.add(HandOut(stage, use, name, split, by_folds=True))
        groups = [self._group(digest) for digest in split.digests]
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        return Folds(split, np.array([numbers[group] for group in groups], dtype=np.int64))

    def may(self, stage: Stage, name: str, use: Use) -> bool:
        """Return whether a stage may use a set in one way, and the set has images."""
        if not self.count(name):
            return False
        if use == Use.FIT:
            return name in _FITTED and (name != ALL or stage in _STAGES_OF_ALL)
        if use in (Use.CHOOSE, Use.CALIBRATE):
            return name in _CHOOSING
        return name not in _FITTED and (name != TEST or not self.test_once or stage == Stage.REPORT)

    def measured(self, stage: Stage) -> list[str]:
        """Return the names of the sets with labels that a stage may measure, except the holdout."""
        return [name for name in (VALID, TEST, *self.probes) if self.may(stage, name, Use.MEASURE)]

    def count(self, name: str) -> int:
        """Return the number of images of a set; 0 if there is none."""
        return len(self._sets[name]) if name in self._sets else 0

    @property
    def holdout_indices(self) -> Integers:
        """Positions of the fixed 5 % among all training images, int64."""
        return holdout_indices(self.dataset.train) if self.dataset.has_holdout else np.empty(0, np.int64)

    @property
    def training_images(self) -> int:
        """Number of training images of the dataset, those that are held out or left out included."""
        return len(self.dataset.train)

    def identity(self, name: str) -> str:
        """Return a text that identifies the images of a set, their labels and their order."""
        split = self._sets[name]
        return f"{split.labels.tolist()} {split.digests}"

    def set_digest(self, name: str) -> str:
        """Return the digest of a set, which identifies it in the record of measurements."""
        return self._sets[name].digest

    def excluded(self, name: str) -> int:
        """Return the number of images that were left out of a set because they look like an image of another one."""
        return len(self._whole[name]) - len(self._sets[name])

    def fitted_without_record(self, *, everything: bool) -> tuple[str, ...]:
        """Return the digests that networks were fitted on before there was a record: near duplicates included."""
        return self._whole[TRAIN if everything else FIT].digests

    @cached_property
    def claims(self) -> Claims:
        """The groups of its own measured sets."""
        whole = self._whole
        tests = (whole[name] for name in (TEST, *self.probes) if name in whole)
        return Claims(
            self._groups(tests),
            self._groups([whole[VALID]] if VALID in whole else []),
            self._groups([whole[HOLDOUT]]),
        )

    @cached_property
    def _whole(self) -> dict[str, Split]:
        """The sets before images that look alike are left out."""
        dataset, train = self.dataset, self.dataset.train
        held = self.holdout_indices
        fitted = np.setdiff1d(np.arange(len(train), dtype=np.int64), held)
        everything = train.take(np.concatenate([fitted, held]))
        sets = {FIT: train.take(fitted), HOLDOUT: train.take(held), TRAIN: everything}
        sets[ALL] = everything.joined_with(dataset.valid) if dataset.valid else everything
        measured = {VALID: dataset.valid, TEST: dataset.test, **self.probes}
        return sets | {name: split for name, split in measured.items() if split is not None}

    @cached_property
    def _sets(self) -> dict[str, Split]:
        claims = self.claims | self.others
        not_valid = claims.tests | claims.valids
        reserved = {
            FIT: not_valid | claims.holdouts,
            TRAIN: not_valid,
            HOLDOUT: not_valid,
            VALID: claims.tests,
            ALL: claims.tests,
        }
        return {name: self._without(split, reserved.get(name, frozenset())) for name, split in self._whole.items()}

    def _without(self, split: Split, groups: Groups) -> Split:
        kept = [index for index, digest in enumerate(split.digests) if self._group(digest) not in groups]
        return split if len(kept) == len(split) else split.take(np.array(kept, dtype=np.int64))

    def _groups(self, splits: Iterable[Split]) -> Groups:
        return frozenset(self._group(digest) for split in splits for digest in split.digests)

    def _group(self, digest: str) -> Hashable:
        return self.group_of.get(digest, digest)
