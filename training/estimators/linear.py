"""Linear heads: logistic regression and ridge regression."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from models.arrays import Floats, Integers
from models.heads import DenseLayers, Estimator, linear_softmax
from training.estimators.base import HeadParameters
from training.estimators.standardization import mean_and_deviation
from training.sampling import sample_per_class

#: Share of the images on which ridge regression measures its error, to scale scores to probabilities.
_RIDGE_VALIDATION_SHARE = 0.2


class Logistic(HeadParameters):
    """Multinomial logistic regression on standardized features."""

    kind: Literal["logistic"] = "logistic"
    C: float = Field(0.001, gt=0, description="inverse strength of the L2 penalty")
    max_iter: int = Field(300, ge=1)

    def fit(self, features: Floats, labels: Integers, seed: int) -> Estimator:
        """Fit on features [images, features] and class indices [images].

        The standardization is folded into the coefficients, so that the estimator takes raw features.
        """
        from sklearn.linear_model import LogisticRegression

        mean, deviation = mean_and_deviation(features)
        model = LogisticRegression(C=self.C, max_iter=self.max_iter, random_state=seed)
        model.fit((features - mean) / deviation, labels)
        coefficients = (model.coef_ / deviation).astype(np.float32)
        return linear_softmax(coefficients, (model.intercept_ - coefficients @ mean).astype(np.float32))


class Ridge(HeadParameters):
    """Ridge regression on one-hot classes; a softmax turns its scores into probabilities."""

    kind: Literal["ridge"] = "ridge"
    alpha: float = Field(1e-5, gt=0, description="strength of the L2 penalty")

    def fit(self, features: Floats, labels: Integers, seed: int) -> Estimator:
        """Fit on features [images, features] and class indices [images].

        The scores of an image sum to 1. If they scatter around the one-hot target like Gaussian noise of variance v
        in each of the remaining `classes - 1` directions, then softmax(scores / v) gives the class probabilities. v
        is measured on a fifth of the images by a first fit that excludes them.

        Computed in float64: with so small a penalty, float32 loses too many digits.
        """
        from sklearn.linear_model import Ridge as RidgeRegression

        rows, targets = features.astype(np.float64), np.eye(labels.max() + 1)[labels]
        held_out = sample_per_class(labels, _RIDGE_VALIDATION_SHARE, np.random.default_rng(seed))
        # One pseudo-observation with an error of 0.5 keeps v away from 0 when there are few images.
        errors = [np.full_like(targets[:1], 0.5)]
        if len(held_out):
            kept = np.setdiff1d(np.arange(len(labels)), held_out)
            first = RidgeRegression(self.alpha, copy_X=False).fit(rows[kept], targets[kept])
            errors.append(first.predict(rows[held_out]) - targets[held_out])
        directions = targets.shape[1] - 1
        variance = np.mean(np.sum(np.concatenate(errors) ** 2, axis=1)) / directions
        model = RidgeRegression(self.alpha, copy_X=False).fit(rows, targets)
        return DenseLayers((model.coef_.T / variance,), (model.intercept_ / variance,))
