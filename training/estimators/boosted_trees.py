"""XGBoost head: gradient-boosted trees on the features."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.arrays import Floats, Integers
from models.heads import BoostedTrees, Estimator
from training.estimators.base import HeadParameters


class XGBoost(HeadParameters):
    """Gradient-boosted trees (Chen and Guestrin, 2016, arXiv:1603.02754)."""

    kind: Literal["xgboost"] = "xgboost"
    n_estimators: int = Field(100, ge=1, description="boosting rounds; each adds one tree per class")
    max_depth: int = Field(4, ge=1)
    learning_rate: float = Field(0.1, gt=0)

    def fit(self, features: Floats, labels: Integers, seed: int) -> Estimator:
        """Fit on features [images, features] and class indices [images]."""
        from xgboost import XGBClassifier

        model = XGBClassifier(
            n_estimators=self.n_estimators,
            max_depth=self.max_depth,
            learning_rate=self.learning_rate,
            tree_method="hist",
            random_state=seed,
        )
        return BoostedTrees.from_model(bytes(model.fit(features, labels).get_booster().save_raw("ubj")))
