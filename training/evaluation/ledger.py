"""The ledger of a store: every measurement of a labelled set, also those that make no artifact.

It is a file of JSON lines beside the artifacts, `measurements.jsonl`, that only grows.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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


class Ledger:
    """Reads the ledgers of several stores and appends to the first one that can be written."""

    def __init__(self, *stores: Path) -> None:
        self._files = [store / LEDGER_FILE for store in stores]

    def of(self, digest: str) -> list[Measurement]:
        """Return all measurements of a set, the oldest first. A line that cannot be read is skipped."""
        found = []
        for file in self._files:
            for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
                try:
                    measurement = Measurement.model_validate_json(line)
                except ValidationError:  # the end of a line that a killed run left
                    continue
                if measurement.set == digest:
                    found.append(measurement)
        return found

    def add(self, by: str, splits: Iterable[tuple[str, Split]]) -> None:
        """Append a measurement of each named set."""
        date = datetime.now(UTC).date().isoformat()
        lines = [
            Measurement(set=split.digest, name=name, images=len(split), by=by, date=date).model_dump_json() + "\n"
            for name, split in splits
        ]
        if lines:
            self._append("".join(lines).encode())

    def _append(self, lines: bytes) -> None:
        *others, last = self._files
        for file in others:
            try:
                _append(file, lines)
            except OSError:  # such as a store that is read-only for this user
                continue
            return
        _append(last, lines)


def ledger_of(ctx: RunContext) -> Ledger:
    """Return the ledger of a run. A result that is not published was measured all the same."""
    return Ledger(*dict.fromkeys((ctx.store.root, ctx.output.root)))


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
