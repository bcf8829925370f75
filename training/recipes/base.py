"""Base class and fields of the parts of a recipe."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class RecipePart(BaseModel):
    """A table of a recipe. It is immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def added_field(default: Any, **description: Any) -> Any:
    """Declare a field that the first recipes did not have; it is left out of dumps while it has its default.

    Checkpoints and manifests are compared by these dumps, so recipes without the field still match their old ones.
    """
    return Field(default, exclude_if=lambda value: value == default, **description)
