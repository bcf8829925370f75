"""Reject parameters that would be ignored: unknown names, repeated ones, and those in the wrong place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from app.errors import BadParameter

QUERY_PARAMETERS = ("model", "version", "top_k", "threshold")
"""Names of the query parameters of all paths that classify an image."""
_MAX_SHOWN = 40  # characters of a name in an error message


def check_query(names: Iterable[str], known: Collection[str]) -> None:
    """Check the names in a query string, as often as they occur; raises BadParameter for the first that is wrong."""
    for name, count in Counter(names).items():
        if name not in known:
            raise BadParameter(f"{_show(name)}: unknown parameter.{_advice(name, known)}")
        if count > 1:
            several = " For several models send model=a,b." if name == "model" else ""
            raise BadParameter(f"{_show(name)}: given {count} times; send it once.{several}")


def check_form_fields(names: Iterable[str]) -> None:
    """Check the text fields of a form, which may have any name but that of a parameter; raises BadParameter."""
    for name in names:
        if match := _closest(name, QUERY_PARAMETERS):
            raise BadParameter(f"{_show(name)}: a form field is not a parameter; send it in the query: ?{match}=...")


def check_json_keys(names: Iterable[str], known: Collection[str]) -> None:
    """Check the keys of a JSON object; raises BadParameter for the first unknown one."""
    for name in names:
        if name in known:
            continue
        if match := _closest(name, QUERY_PARAMETERS):
            raise BadParameter(f"{_show(name)}: a JSON key is not a parameter; send it in the query: ?{match}=...")
        raise BadParameter(f"{_show(name)}: unknown key of the JSON.{_advice(name, known)}")


def _advice(name: str, known: Collection[str]) -> str:
    if match := _closest(name, known):
        return f" Did you mean {match}?"
    return f" Known here: {', '.join(sorted(known))}." if known else " None is known here."


def _closest(name: str, known: Collection[str]) -> str | None:
    """Return the known name that is meant: `Top-K` and `topk` for `top_k`."""
    return next(iter(get_close_matches(name[:_MAX_SHOWN].lower().replace("-", "_"), known, 1)), None)


def _show(name: str) -> str:
    return name[:_MAX_SHOWN].encode("ascii", "backslashreplace").decode()
