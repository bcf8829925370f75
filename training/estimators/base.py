"""Base class of the parameters of every kind of head."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class HeadParameters(BaseModel):
    """Parameters of one kind of head, as a recipe's [head] table states them. Unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")
