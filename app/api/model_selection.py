"""`?model=` and `?version=` -> the classifiers that are asked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.errors import BadParameter
from models.artifacts.catalog import Catalog
from models.classifier import Classifier

_NAME = "[^@,]+(?:@[0-9]{1,9})?"
ONE = f"^(?:{_NAME})?$"
SEVERAL = f"^(?:{_NAME}(?:,{_NAME})*,?)?$"
"""What `?model=` may be: nothing, a name, or several with commas; a single one with a comma is a list of one."""


@dataclass(frozen=True)
class Selection:
    """The classifiers, each once, and whether the answer is a list."""

    classifiers: tuple[Classifier, ...]
    many: bool


def select(catalog: Catalog, default: Classifier, model: str | None, version: int | None) -> Selection:
    """Find the classifiers that a request names.

    Args:
        catalog: what there is.
        default: which one answers when none is named.
        model: `a`, `a@2`, `a,b` or `a@2,b@1`; a comma asks for a list of results.
        version: of the one model that is named, or of the default.

    Raises:
        ModelNotFound: lists those there are.
        BadParameter: a name is empty, or a version is given twice or for several models.
    """
    if model and not re.fullmatch(SEVERAL, model):
        raise BadParameter(f"model: {model!r} names no models; write NAME, NAME@VERSION or NAME,NAME.")
    many = model is not None and "," in model
    names = (model or default.name).removesuffix(",").split(",")
    if version is not None and (many or "@" in names[0]):
        raise BadParameter("version: give the versions with the names, as in model=a@2,b@1.")
    if not model and version is None:
        return Selection((default,), many=False)
    found = (_find(catalog, name.strip(), version) for name in names)
    return Selection(tuple(dict.fromkeys(found)), many)


def select_one(catalog: Catalog, default: Classifier, model: str | None, version: int | None) -> Classifier:
    """The same where only one can be meant; raises BadParameter for several."""
    selection = select(catalog, default, model, version)
    if selection.many:
        raise BadParameter("model: name one; this address answers for one model at a time.")
    return selection.classifiers[0]


def _find(catalog: Catalog, name: str, version: int | None) -> Classifier:
    name, _, named_version = name.partition("@")
    return catalog.find(name, int(named_version) if named_version else version)
