"""Mistakes in the names and values of environment variables."""

from __future__ import annotations

import pytest

from app.environment import describe_mistakes, describe_strangers
from app.settings import Settings, variable_name


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("APP_API_KEY_FILE", "APP_API_KEYS_FILE"),
        ("APP_APIKEYS_FILE", "APP_API_KEYS_FILE"),
        ("APP_API_KEYS", "APP_API_KEYS_FILE"),
        ("APP_API_KEYS_PATH", "APP_API_KEYS_FILE"),
        ("APP_KEYS_FILE", "APP_API_KEYS_FILE"),
        ("APP_KEYS", "APP_API_KEYS_FILE"),
        ("APP_KEY_FILE", "APP_API_KEYS_FILE"),
        ("APP_AUTH_KEYS_FILE", "APP_API_KEYS_FILE"),
        ("app_api_key_file", "APP_API_KEYS_FILE"),
        ("APP_API-KEYS-FILE", "APP_API_KEYS_FILE"),
        ("APP_MAX_CONCURENT", "APP_MAX_CONCURRENT"),
        ("APP_RATE_LIMITS", "APP_RATE_LIMIT"),
        ("APP_ALLOWED_HOST", "APP_ALLOWED_HOSTS"),
        ("APP_TRUSTED_PROXY", "APP_TRUSTED_PROXIES"),
        ("APP_MAXBATCH", "APP_MAX_BATCH"),
        ("APP_METRICS", "APP_METRICS_PUBLIC"),
        ("APP_PROT", "APP_PORT"),
    ],
)
def test_misspelt_setting_is_a_mistake(name: str, meant: str) -> None:
    (line,) = describe_mistakes({name: "value"})
    assert line.startswith(f"{name} is not a setting. Did you mean {meant}?")
    assert describe_strangers({name: "value"}) == []


@pytest.mark.parametrize(
    "name",
    [
        *("APP_ENV", "APP_NAME", "APP_VERSION", "APP_HOME", "APP_DEBUG", "APP_SECRET_KEY", "APP_URL", "APP_KEY"),
        *("APP_USER", "APP_CONFIG", "APP_BASE_URL", "APP_STORAGE", "APP_LOCALE", "APP_TIMEZONE", "APP_DB_HOST"),
        *("APP_SERVICE_HOST", "APP_SERVICE_PORT", "APP_PORT_8000_TCP", "APP_PORT_8000_TCP_ADDR"),
    ],
)
def test_variable_of_something_else_is_only_named(name: str) -> None:
    assert describe_mistakes({name: "value"}) == []
    assert describe_strangers({name: "value"}) == [f"{name} is not a setting and was ignored."]


@pytest.mark.parametrize("value", ["", " ", "\t"])
@pytest.mark.parametrize("name", ["APP_API_KEYS_FILE", "app_api_keys_file", "APP_ALLOWED_HOSTS", "APP_METRICS_PUBLIC"])
def test_empty_value_that_would_open_the_server_is_a_mistake(name: str, value: str) -> None:
    (line,) = describe_mistakes({name: value})
    assert line.startswith(f"{name}=: must not be empty.")


def test_settings_and_variables_without_the_prefix_are_no_mistakes() -> None:
    environment = {variable_name(field): "value" for field in Settings.model_fields}
    environment |= {"PATH": "/bin", "API_KEYS_FILE": "", "APP": "x", "APP_THREADS": "", "APP_RATE_LIMIT": ""}
    assert describe_mistakes(environment) == []
    assert describe_strangers(environment) == []
