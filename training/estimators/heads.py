"""The kinds of heads that are fitted, and their parameters, as recipes name them: features -> estimator.

What is fitted here is saved, loaded and asked by `models.heads`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from models.heads import DenseLayers, Estimator, Floats, Integers
from training.sampling import share_of_each


class _Parameters(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class XGBoost(_Parameters):
    """Boosted trees on the features: the second level of the stack."""

    kind: Literal["xgboost"] = "xgboost"
    n_estimators: int = Field(100, ge=1)
    max_depth: int = Field(4, ge=1)
    learning_rate: float = Field(0.1, gt=0)

    def fit(self, features: Floats, labels: Integers, seed: int) -> Estimator:
        """Fit on [images, features] and class indices [images]."""
        from xgboost import XGBClassifier

        model = XGBClassifier(
            n_estimators=self.n_estimators,
            max_depth=self.max_depth,
            learning_rate=self.learning_rate,
            tree_method="hist",
            random_state=seed,
        )
        fitted: Estimator = model.fit(features, labels)
        return fitted


class Logistic(_Parameters):
    """Multinomial logistic regression on standardised features."""

    kind: Literal["logistic"] = "logistic"
    C: float = Field(0.001, gt=0, description="inverse strength of the L2 penalty")
    max_iter: int = Field(300, ge=1)

    def fit(self, features: Floats, labels: Integers, seed: int) -> Estimator:
        """Fit on [images, features] and class indices [images]; the standardisation is folded in."""
        from sklearn.linear_model import LogisticRegression

        mean, deviation = features.mean(axis=0), features.std(axis=0) + np.float32(1e-6)
        model = LogisticRegression(C=self.C, max_iter=self.max_iter, random_state=seed)
        model.fit((features - mean) / deviation, labels)
        model.coef_ = (model.coef_ / deviation).astype(np.float32)
        model.intercept_ = (model.intercept_ - model.coef_ @ mean).astype(np.float32)
        fitted: Estimator = model
        return fitted


class Ridge(_Parameters):
    """Ridge regression on the classes as 0 and 1: scores, of which a softmax makes probabilities."""

    kind: Literal["ridge"] = "ridge"
    alpha: float = Field(1e-5, gt=0, description="strength of the L2 penalty")

    def fit(self, features: Floats, labels: Integers, seed: int) -> Estimator:
        """Fit on [images, features] and class indices [images], in float64: with so weak a penalty digits count.

        The scores of an image sum to 1. Where they scatter around the classes' 0 and 1 like Gaussian noise of variance
        v in each of the other directions, softmax(scores / v) is the probability of the classes. v is measured on a
        fifth of the images, by a first fit that has not seen them, and on one imagined image that is wrong by half, for
        where there are few.
        """
        from sklearn.linear_model import Ridge as Regression

        rows, targets = features.astype(np.float64), np.eye(labels.max() + 1)[labels]
        unseen = share_of_each(labels, 0.2, np.random.default_rng(seed))
        errors = [np.full_like(targets[:1], 0.5)]
        if len(unseen):
            seen = np.setdiff1d(np.arange(len(labels)), unseen)
            first = Regression(self.alpha, copy_X=False).fit(rows[seen], targets[seen])
            errors.append(first.predict(rows[unseen]) - targets[unseen])
        directions = targets.shape[1] - 1
        variance = np.mean(np.sum(np.concatenate(errors) ** 2, axis=1)) / directions
        model = Regression(self.alpha, copy_X=False).fit(rows, targets)
        return DenseLayers((model.coef_.T / variance,), (model.intercept_ / variance,))


class Dense(_Parameters):
    """A network of dense layers on standardised features, with dropout after each of them."""

    kind: Literal["dense"] = "dense"
    units: tuple[Annotated[int, Field(ge=1)], ...] = (2048, 512, 64)
    dropout: float = Field(0.2, ge=0, lt=1)
    learning_rate: float = Field(0.001, gt=0, description="of Adam")
    batch: int = Field(128, ge=1)
    epochs: int = Field(50, ge=1, description="at most")
    patience: int = Field(3, ge=1, description="epochs without a lower loss on a tenth of the images; then it ends")

    def fit(self, features: Floats, labels: Integers, seed: int) -> Estimator:
        """Fit on [images, features] and class indices [images] with Keras; see `training.estimators.dense_keras`."""
        from training.estimators.dense_keras import fit

        return fit(self, features, labels, seed)


class Softmax(_Parameters):
    """The network's own top: the extractor's output is the answer, nothing is fitted."""

    kind: Literal["softmax"] = "softmax"


FittedHead = XGBoost | Logistic | Ridge | Dense
AnyHead = FittedHead | Softmax

#: kind -> its parameters, by default those of the posts.
FITTED_KINDS: dict[str, type[FittedHead]] = {
    "ridge": Ridge,
    "dense": Dense,
    "xgboost": XGBoost,
    "logistic": Logistic,
}
