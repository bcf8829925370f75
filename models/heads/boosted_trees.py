"""Gradient-boosted trees of XGBoost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.arrays import Floats
from models.heads import tree_model

if TYPE_CHECKING:
    from xgboost import Booster


@dataclass(frozen=True, slots=True, eq=False)
class BoostedTrees:
    """Gradient-boosted trees that XGBoost evaluates; create them with `from_model`."""

    booster: Booster
    features: int
    classes: int

    @classmethod
    def from_model(cls, model: bytes) -> BoostedTrees:
        """Load a model in UBJSON, as `Booster.save_raw("ubj")` returns it.

        Raises:
            ValueError: the model is damaged, or no classifier.
        """
        checked = tree_model.check(model)
        from xgboost import Booster  # takes half a second, and stores without trees do not need it
        from xgboost.core import XGBoostError

        try:
            booster = Booster(model_file=bytearray(model))
        except XGBoostError as error:
            raise ValueError("XGBoost cannot read the model") from error
        return cls(booster, checked.features, checked.classes)

    def to_model(self) -> bytes:
        """Return the model in UBJSON."""
        return bytes(self.booster.save_raw("ubj"))

    def predict_proba(self, features: Floats) -> Floats:
        """float32 [images, features] -> float32 [images, classes]; raises ValueError for other shapes."""
        probabilities: Floats = self.booster.inplace_predict(features)
        if probabilities.ndim == 1:  # of the second of two classes
            return np.stack([1.0 - probabilities, probabilities], axis=1)
        return probabilities

    def fits(self, features: int, classes: int) -> bool:
        """Return whether the trees take this number of features and return this number of probabilities."""
        return (self.features, self.classes) == (features, classes)
