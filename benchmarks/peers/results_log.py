"""A log of finished measurements as JSON lines, so that an interrupted benchmark can be resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Result = dict[str, Any]
"""A measurement as JSON. Its keys are part of the file format: renaming them makes old files unreadable."""


class ResultsLog:
    """An append-only file of results; results of other settings in it are ignored."""

    def __init__(self, file: Path, settings: Mapping[str, Any]) -> None:
        """Read the file if it exists; an incomplete line of a killed process is ignored."""
        self._file, self._settings = file, dict(settings)
        self._results: dict[str, Result] = {}
        file.parent.mkdir(parents=True, exist_ok=True)
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if entry["settings"] == self._settings:
                self._results[entry["key"]] = entry["found"]

    def get_or_measure(self, key: str, measure: Callable[[], Result]) -> Result:
        """Return the result of a key; if there is none, measure and append it."""
        if key not in self._results:
            result = measure()
            line = json.dumps({"settings": self._settings, "key": key, "found": result})
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n")  # the first newline ends an incomplete line
            self._results[key] = result
        return self._results[key]
