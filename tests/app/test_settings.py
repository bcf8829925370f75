from __future__ import annotations

import pytest

from app.settings import Settings, variable
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "operations.md"


def settings_table() -> str:
    """The table of docs/operations.md, from the settings themselves."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "`models/store`" if name == "store" else "" if field.default in (None, "") else f"`{field.default}`"
        rows.append(f"| `{variable(name)}` | {default} | {field.description} |")
    return "\n".join(rows)


def test_every_setting_is_documented() -> None:
    assert settings_table() in DOCUMENT.read_text(), f"put this table into docs/operations.md:\n{settings_table()}"


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_MAX_BATCH", "7")
    monkeypatch.setenv("APP_THREADS", "")
    settings = Settings()
    assert (settings.max_batch, settings.threads) == (7, None)
    assert not settings.has_chosen_default
