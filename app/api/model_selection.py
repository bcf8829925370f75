"""Select classifiers by the query parameters `model` and `version`."""

from __future__ import annotations

import re

from app.errors import BadParameter
from app.inference.model_loading import LoadedModels
from models.classifier import Classifier

_NAME = "[^@,]+(?:@[0-9]{1,9})?"
SINGLE_PATTERN = f"^(?:{_NAME})?$"
LIST_PATTERN = f"^(?:{_NAME}(?:,{_NAME})*,?)?$"
"""Nothing, a name, or names separated by commas; a single name with a comma is a list of one."""


def is_list(model: str | None) -> bool:
    """Return True if `model` asks for a list of results."""
    return model is not None and "," in model


def select(models: LoadedModels, model: str | None, version: int | None) -> tuple[Classifier, ...]:
    """Return the classifiers that a request names, each once.

    Args:
        models: the loaded models.
        model: `a`, `a@2`, `a,b` or `a@2,b@1`; None for the default model.
        version: version of the single model, or of the default model.

    Raises:
        ModelNotFound: lists the models that exist.
        BadParameter: a name is malformed, or a version is given twice or for several models.
    """
    if model and not re.fullmatch(LIST_PATTERN, model):
        raise BadParameter(f"model: {model!r} is not a list of models; write NAME, NAME@VERSION or NAME,NAME.")
    names = (model or models.default.name).removesuffix(",").split(",")
    if version is not None and (is_list(model) or "@" in names[0]):
        raise BadParameter("version: write the versions with the names, as in model=a@2,b@1.")
    if not model and version is None:
        return (models.default,)
    return tuple(dict.fromkeys(_find(models, name.strip(), version) for name in names))


def select_one(models: LoadedModels, model: str | None, version: int | None) -> Classifier:
    """Return the classifier that a request names; raises as `select` does, and BadParameter for a list."""
    selected = select(models, model, version)
    if is_list(model):
        raise BadParameter("model: name a single model; this path returns the result of one model.")
    return selected[0]


def _find(models: LoadedModels, name: str, version: int | None) -> Classifier:
    name, _, named_version = name.partition("@")
    return models.catalog.find(name, int(named_version) if named_version else version)
