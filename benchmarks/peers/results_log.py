"""What has been measured, a line of JSON for each, so that a run that was interrupted goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Found = dict[str, Any]


class Records:
    """A file that only grows; what was measured under other settings is left aside."""

    def __init__(self, file: Path, settings: Mapping[str, Any]) -> None:
        """Open or begin it; half a line that a killed run left is left aside too."""
        self._file, self._settings = file, dict(settings)
        self._known: dict[str, Found] = {}
        file.parent.mkdir(parents=True, exist_ok=True)
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if record["settings"] == self._settings:
                self._known[record["key"]] = record["found"]

    def get(self, key: str, measure: Callable[[], Found]) -> Found:
        """What is known under a key; where nothing is, it is measured and kept."""
        if key not in self._known:
            found = measure()
            line = json.dumps({"settings": self._settings, "key": key, "found": found})
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n")  # begins a line of its own even behind half of one
            self._known[key] = found
        return self._known[key]
