"""All kinds of heads that a recipe can name."""

from __future__ import annotations

from typing import Literal

from training.estimators.base import HeadParameters
from training.estimators.boosted_trees import XGBoost
from training.estimators.dense import Dense
from training.estimators.linear import Logistic, Ridge


class Softmax(HeadParameters):
    """The network's own softmax: the extractor's output is the answer, and nothing is fitted."""

    kind: Literal["softmax"] = "softmax"


FittedHead = XGBoost | Logistic | Ridge | Dense
AnyHead = FittedHead | Softmax

#: Kind -> the class of its parameters. The defaults are those of the blog posts that the recipes reproduce.
FITTED_KINDS: dict[str, type[FittedHead]] = {
    "ridge": Ridge,
    "dense": Dense,
    "xgboost": XGBoost,
    "logistic": Logistic,
}
