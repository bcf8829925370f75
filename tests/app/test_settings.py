"""Settings and their documentation."""

from __future__ import annotations

import pytest

from app.settings import Settings, variable_name
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "operations.md"


def settings_table() -> str:
    """Generate the settings table of docs/operations.md."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "`models/store`" if name == "store" else "" if field.default in (None, "") else f"`{field.default}`"
        rows.append(f"| `{variable_name(name)}` | {default} | {field.description} |")
    return "\n".join(rows)


def test_every_setting_is_documented() -> None:
    assert settings_table() in DOCUMENT.read_text(), (
        f"replace the table in docs/operations.md with:\n{settings_table()}"
    )


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_MAX_BATCH", "7")
    monkeypatch.setenv("APP_THREADS", "")
    settings = Settings()
    assert (settings.max_batch, settings.threads) == (7, None)
    assert not settings.is_default_model_set
