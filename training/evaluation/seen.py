"""Which images a model was made with: digests by stage and use, as a file of the artifact.

Digests are cut to 8 bytes: among a million images the chance that two have the same is one in thirty million.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.artifacts.npz import read_npz
from models.artifacts.store import ClassifierArtifact, ExtractorArtifact
from models.manifests import SEEN_FILE, ExtractorManifest
from training.data.split import Split
from training.partition.partition import Partition
from training.partition.record import Record, Stage, Use

Keys = npt.NDArray[np.uint64]
#: Key in an extractor's `fitted_on`: initial weights whose images are not recorded one by one.
UNRECORDED = "unrecorded"


@dataclass(frozen=True, eq=False)
class SeenImages:
    """Images that were used to make a model.

    Attributes:
        keys: `use.stage` -> the first 8 bytes of each digest, uint64, sorted.
        unrecorded: initial weights whose images are not known one by one.
        is_recorded: False if nothing at all is known, as of extractors that were made before there was a record.
    """

    keys: Mapping[str, Keys] = field(default_factory=dict)
    unrecorded: tuple[str, ...] = ()
    is_recorded: bool = True

    def count(self, use: Use, split: Split, stage: Stage | None = None) -> int:
        """Return how many images of a split were used in one way, by one stage or by any."""
        prefix = f"{use}.{stage or ''}"
        used = [keys for name, keys in self.keys.items() if name.startswith(prefix)]
        return int(np.isin(to_keys(split.digests), np.concatenate(used)).sum()) if used else 0

    def uses(self, split: Split) -> tuple[str, ...]:
        """Return `use.stage` of the stages that chose or calibrated with images of a split."""
        return tuple(
            name
            for name, keys in sorted(self.keys.items())
            if name.partition(".")[0] in (Use.CHOOSE, Use.CALIBRATE) and np.isin(to_keys(split.digests), keys).any()
        )

    def inherited(self) -> SeenImages:
        """Return what a model that starts from this one has seen through it: images fitted on and chosen by."""
        kept = {name: keys for name, keys in self.keys.items() if name.partition(".")[0] in (Use.FIT, Use.CHOOSE)}
        return SeenImages(kept, self.unrecorded)

    def joined_with(self, other: SeenImages) -> SeenImages:
        """Return what either of two models has seen."""
        keys = {
            name: np.unique(np.concatenate([each.keys[name] for each in (self, other) if name in each.keys]))
            for name in sorted({*self.keys, *other.keys})
        }
        return SeenImages(keys, tuple(dict.fromkeys((*self.unrecorded, *other.unrecorded))))

    def to_npz(self) -> bytes:
        """Return the keys as an .npz archive, always the same bytes for the same images."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = dict(sorted(self.keys.items()))
        np.savez(buffer, **arrays)
        return buffer.getvalue()


def seen_by_run(record: Record) -> SeenImages:
    """Return the images of a run's record."""
    digests: dict[str, set[str]] = {}
    for each in record:
        digests.setdefault(f"{each.use}.{each.stage}", set()).update(each.split.digests)
    return SeenImages({name: np.unique(to_keys(members)) for name, members in digests.items()})


def seen_by_artifact(artifact: ExtractorArtifact | ClassifierArtifact) -> SeenImages:
    """Read the images that an artifact was made with.

    Raises:
        CorruptArtifact: the file was changed.
    """
    manifest = artifact.manifest
    unrecorded = tuple(manifest.fitted_on.get(UNRECORDED, ())) if isinstance(manifest, ExtractorManifest) else ()
    if SEEN_FILE not in manifest.files:
        return SeenImages({}, (artifact.label,), is_recorded=False)
    return SeenImages(read_npz(artifact.read(SEEN_FILE)), unrecorded)


def seen_of(artifact: ExtractorArtifact, partition: Partition, name: str) -> SeenImages:
    """Do the same for the images of a dataset; without a record, the digest of the whole dataset tells some of it.

    Args:
        artifact: the extractor.
        partition: of the dataset.
        name: of the dataset in recipes.
    """
    seen = seen_by_artifact(artifact)
    if seen.is_recorded:
        return seen
    for fit in artifact.manifest.fitted_on.values():
        if isinstance(fit, dict) and fit.get("digest") == partition.dataset.digest:
            fitted = partition.fitted_without_record(everything=not fit.get("held_out_images"))
            return SeenImages({f"{Use.FIT}.{Stage.NETWORK}": np.unique(to_keys(fitted))}, seen.unrecorded)
        if isinstance(fit, dict) and name and fit.get("dataset") == name:
            return replace(seen, unrecorded=(f"{artifact.label}, which was fitted on a dataset of the same name,",))
    return seen


def to_keys(digests: Iterable[str]) -> Keys:
    """Return the first 8 bytes of SHA-256 digests in hexadecimal, uint64 [images]."""
    return np.array([int(digest[:16], 16) for digest in digests], dtype=np.uint64)
