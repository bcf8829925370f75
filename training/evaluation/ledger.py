"""The ledger of a store: every measurement of a labelled set, also those that make no artifact.

It is a file of JSON lines beside the artifacts, `measurements.jsonl`, that only grows. Artifacts that came with their
store have no lines; their manifests tell what was measured.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.artifacts.store import ClassifierArtifact, ExtractorArtifact, Store
from models.errors import ModelsError
from models.manifests import ClassifierManifest, ExtractorManifest
from training.data.split import Split
from training.runtime.context import RunContext

LEDGER_FILE = "measurements.jsonl"


class Measurement(BaseModel):
    """One measurement of a labelled set."""

    model_config = ConfigDict(frozen=True)

    set: str = Field(description="digest of the set, `Split.digest`")
    name: str = Field(description="of the set in that command")
    images: int
    by: str = Field(description="what measured it, such as `cifar10@3`")
    date: str = Field(description="ISO 8601")
    recipe: str = Field("", description="digest of the recipe that was run, `recipe_digest`; empty: no run of a recipe")
    store: str = Field("", description="folder of the store that the model was written to, relative to the ledger's")


class Ledger:
    """Reads the ledgers of several stores and appends to the first one that can be written.

    Args:
        stores: their folders.
        log: receives a line if a measurement cannot be recorded.
    """

    def __init__(self, *stores: Path, log: Callable[[str], None]) -> None:
        self._stores, self._log = stores, log

    def of(self, digest: str) -> list[Measurement]:
        """Return all measurements of a set, the oldest first; `store` is absolute. Incomplete lines are skipped."""
        recorded = [each for store in self._stores for each in _read(store)]
        labels = {each.by for each in recorded}
        shipped = (each for each in _in_manifests(self._stores[0]) if each.by not in labels)
        return [each for each in (*shipped, *recorded) if each.set == digest]

    def add(
        self, by: str, splits: Iterable[tuple[str, Split]], *, recipe: str = "", written_to: Path | None = None
    ) -> None:
        """Append a measurement of each named set; log that it is not recorded if no store can be written.

        Args:
            by: what measured the sets.
            splits: the sets, with their names.
            recipe: digest of the recipe that was run.
            written_to: folder of the store that the measured model was written to.
        """
        date = datetime.now(UTC).date().isoformat()
        measurements = [
            Measurement(set=split.digest, name=name, images=len(split), by=by, date=date, recipe=recipe)
            for name, split in splits
        ]
        reason = ""
        for store in self._stores if measurements else ():
            relative = os.path.relpath(written_to, store) if written_to else ""
            lines = [each.model_copy(update={"store": relative}).model_dump_json() + "\n" for each in measurements]
            try:
                _append(store / LEDGER_FILE, "".join(lines).encode())
            except OSError as error:  # such as a store that is read-only for this user
                reason = f"{store / LEDGER_FILE}: {error.strerror or error}"
            else:
                return
        if reason:
            self._log(f"not recorded, so later measurements of the same images do not count this one: {reason}")


def ledger_of(ctx: RunContext) -> Ledger:
    """Return the ledger of a run. A result that is not published was measured all the same."""
    return Ledger(*dict.fromkeys((ctx.store.root, ctx.output.root)), log=ctx.log)


def label_in_ledger(artifact: ExtractorArtifact | ClassifierArtifact, ctx: RunContext) -> str:
    """Return what the ledger calls an artifact of a run: a published one may have the same name and version."""
    return artifact.label if ctx.unpublished is None else f"{artifact.label} (not published)"


def _read(store: Path) -> Iterator[Measurement]:
    file = store / LEDGER_FILE
    for line in file.read_bytes().splitlines() if file.is_file() else ():
        try:
            measurement = Measurement.model_validate_json(line)
        except ValidationError:  # the end of a line that a killed run left
            continue
        yield measurement.model_copy(update={"store": str((store / measurement.store).resolve())})


def _in_manifests(store: Path) -> Iterator[Measurement]:
    """Yield the measurements that the artifacts of a store record, the oldest first."""
    invalid: list[ModelsError] = []  # a damaged artifact must not stop the measurement of another one
    artifacts: list[ExtractorArtifact | ClassifierArtifact] = [
        *Store(store).scan(ExtractorManifest, invalid),
        *Store(store).scan(ClassifierManifest, invalid),
    ]
    for artifact in sorted(artifacts, key=lambda artifact: artifact.manifest.version):
        by, date = artifact.label, artifact.manifest.created
        for name, each in artifact.manifest.sets.items():
            yield Measurement(set=each.digest, name=name, images=each.images, by=by, date=date, store=str(store))


def _append(file: Path, lines: bytes) -> None:
    """Append whole lines at once, durably, behind any incomplete line that a killed run left."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as ledger:
        fcntl.flock(ledger, fcntl.LOCK_EX)
        size = ledger.seek(0, os.SEEK_END)
        if size:
            ledger.seek(size - 1)
            lines = lines if ledger.read(1) == b"\n" else b"\n" + lines
        ledger.write(lines)
        ledger.flush()
        os.fsync(ledger.fileno())
