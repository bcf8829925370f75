"""Reject parameters that would be ignored: unknown names, repeated ones, and those in the wrong place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from urllib.parse import parse_qsl

from app.errors import BadParameter

QUERY_PARAMETERS = ("model", "version", "top_k", "threshold")
"""Names of the query parameters of all paths that classify an image."""
_MAX_SEPARATORS = 50  # parsing thousands would block the event loop for milliseconds
_MAX_SHOWN = 40  # characters of a name in an error message


def parse_query(query: bytes, known: Collection[str]) -> dict[str, str]:
    """Return the parameters of a query string; raises BadParameter for one that is unknown or repeated."""
    if query.count(b"&") > _MAX_SEPARATORS:
        raise BadParameter("The query string has too many parameters.")
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    for name, count in Counter(name for name, _ in pairs).items():
        if name not in known:
            raise BadParameter(f"{_show(name)}: unknown parameter.{_advice(name, known)}")
        if count > 1:
            several = " For several models send model=a,b." if name == "model" else ""
            raise BadParameter(f"{_show(name)}: given {count} times; send it once.{several}")
    return dict(pairs)


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
