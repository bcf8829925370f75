"""Check the environment variables `APP_*` before startup, so that a mistake never opens the server unnoticed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from app.settings import PREFIX, Settings, variable_name

_NEVER_EMPTY = ("api_keys_file", "allowed_hosts", "metrics_public")
"""Settings whose default is more open than a value that someone forgot to fill in."""
_MIN_SIMILARITY = (
    0.84  # of names: APP_MAX_CONCURENT has 0.96, APP_TRUSTED_PROXY 0.85, APP_STORAGE 0.83, APP_VERSION 0.63
)
_MIN_ABBREVIATION = 6  # letters
_KEYS_FILE = re.compile("^APIKEY|KEYS|KEYFILE")
"""Parts of names that probably mean the keys file, without which the server needs no key. APP_KEY means Laravel's."""
_DOCUMENT = "All settings: docs/operations.md."


def describe_invalid(error: ValidationError) -> list[str]:
    """Return one message per invalid setting, with the name of its variable."""
    lines = []
    for problem in error.errors():
        name = variable_name(str(problem["loc"][0]))
        lines.append(f"{name}={problem['input']}: {problem['msg']}. {_DOCUMENT}")
    return lines


def describe_mistakes(environment: Mapping[str, str]) -> list[str]:
    """Return one message per variable that must stop startup: misspelt, or empty where that would open the server."""
    empty = {variable_name(field) for field in _NEVER_EMPTY}
    emptied = [
        f"{name}=: must not be empty. Set it to a value or remove it. {_DOCUMENT}"
        for name in sorted(environment)
        if name.upper() in empty and not environment[name].strip()
    ]
    misspelt = [
        f"{name} is not a setting. Did you mean {closest}? Rename or remove it. {_DOCUMENT}"
        for name in _unknown(environment)
        if (closest := _closest(name))
    ]
    return emptied + misspelt


def describe_strangers(environment: Mapping[str, str]) -> list[str]:
    """Return one message per variable that has nothing to do with a setting, such as APP_ENV of a framework."""
    return [f"{name} is not a setting and was ignored." for name in _unknown(environment) if not _closest(name)]


def _unknown(environment: Mapping[str, str]) -> Iterator[str]:
    known = {variable_name(field) for field in Settings.model_fields}
    return (name for name in sorted(environment) if name.upper().startswith(PREFIX) and name.upper() not in known)


def _closest(name: str) -> str | None:
    """Return the variable that `name` probably means, or None. Separators and case make no difference."""
    letters = _letters(name[len(PREFIX) :])
    similarities = {field: _similarity(letters, _letters(field)) for field in Settings.model_fields}
    closest = max(similarities, key=lambda field: similarities[field])
    if _KEYS_FILE.search(letters):
        closest = "api_keys_file"
    elif similarities[closest] < _MIN_SIMILARITY:
        return None
    return variable_name(closest)


def _similarity(letters: str, field: str) -> float:
    """Return the share of the letters that match in their order; abbreviations and transposed letters are similar."""
    is_abbreviation = len(letters) >= _MIN_ABBREVIATION and field.startswith(letters)
    is_transposed = sorted(letters) == sorted(field)
    share = difflib.SequenceMatcher(None, letters, field).ratio()
    return max(share, _MIN_SIMILARITY) if is_abbreviation or is_transposed else share


def _letters(name: str) -> str:
    return re.sub("[^A-Z0-9]", "", name.upper())
