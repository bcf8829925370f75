"""Settings and their documentation."""

from __future__ import annotations

import pytest
from annotated_types import Ge, Gt
from pydantic import ValidationError

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


LOWEST = {
    **dict.fromkeys(["port", "store_poll_s", "max_delay_ms", "deadline_ms", "drain_s"], 0),
    **dict.fromkeys(["max_body_bytes", "max_images", "max_batch_request_bytes", "max_buffered_bytes", "max_pixels"], 1),
    **dict.fromkeys(["large_image_pixels", "max_side", "max_batch", "queue_size", "threads", "max_concurrent"], 1),
}
ABOVE_0 = ["read_timeout_s", "max_batch_latency_ms"]


def test_every_setting_with_a_limit_is_tested() -> None:
    fields = Settings.model_fields.items()
    limited = {name for name, field in fields if {type(each) for each in field.metadata} & {Ge, Gt}}
    assert limited == {*LOWEST, *ABOVE_0}


@pytest.mark.parametrize("name", [*LOWEST, *ABOVE_0])
def test_setting_below_its_minimum_is_rejected(name: str) -> None:
    lowest = LOWEST.get(name, 0.001)
    assert getattr(Settings.model_validate({name: lowest}), name) == lowest
    with pytest.raises(ValidationError):
        Settings.model_validate({name: lowest - 1 if name in LOWEST else 0})


@pytest.mark.parametrize("value", ["*", "proxy.example.org", "10.0.0.0/33", "10.0.0.0/8,*"])
def test_proxies_that_are_no_networks_are_rejected(value: str) -> None:
    Settings.model_validate({"trusted_proxies": "10.0.0.0/8, 127.0.0.1"})
    with pytest.raises(ValidationError):
        Settings.model_validate({"trusted_proxies": value})
